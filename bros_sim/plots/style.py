"""The look of all figures: palette, sizes, panels, and files that are the same byte for byte."""

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bros_sim.core.labels import counted

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999",
)  # fmt: skip
"""Okabe and Ito, in an order that keeps neighbours apart; yellow is unreadable on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CLASS_COLOURS = {"rt": "#0072B2", "be": "#E69F00"}
DARK = "#555555"
HAIRLINE: Mapping[str, Any] = {"color": DARK, "linewidth": 0.7}
"""Limits and other lines to hold the data against."""
HEIGHT_IN = 2.35
WIDE_X = 8.0  # largest / smallest value from which an x axis is logarithmic

COLUMN_IN, PAGE_IN = 3.5, 7.16  # widths of one and of two columns of a paper
TITLE_LETTERS = 38  # letters that fit above a panel when three stand side by side
LINE_IN, LETTER_IN = 0.12, 0.052
"""Height of a line and width of a letter in the small sizes of a figure."""
SEEDS = 8  # seeds that a note lists one by one
NOTE_LETTERS_PER_IN = 26
NOTE = {"fontsize": 5.5, "color": "#777777"}

_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
_STYLE = Path(__file__).with_name("paper.mplstyle")


@contextmanager
def paper_style() -> Iterator[None]:
    """Our style and no other, while a figure is made or written."""
    with style.context(["default", _STYLE]):
        yield


def render(figure: Figure, kind: str) -> bytes:
    """The figure as a png, svg or pdf file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with paper_style():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure with a canvas of its own; call inside ``paper_style``."""
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def across(panels: int, height_in: float) -> Figure:
    """One column wide for one panel, two columns for more."""
    return new_figure(COLUMN_IN if panels == 1 else PAGE_IN, height_in)


def panel_title(choice: Mapping[str, object], names: Mapping[str, str]) -> str:
    """``path = value`` for the labels that make this panel, a line for each."""
    lines = (f"{names[name]} = {shown(value)}" for name, value in choice.items())
    return "\n".join(textwrap.fill(line, TITLE_LETTERS, subsequent_indent="  ") for line in lines)


def panels(
    titles: Sequence[str], height_in: float, *, sharex: bool = True, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """One axes for each title, side by side, with shared scales unless an axis says otherwise."""
    count = len(titles)
    columns = min(count, 3 if count != 4 else 2)
    rows = math.ceil(count / columns)
    height = height_in if count == 1 else 0.35 + (height_in - 0.35) * 0.85 * rows
    height += LINE_IN * rows * max(title.count("\n") for title in titles)
    figure = across(count, height)
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    for spare in grid.flat[count:]:
        spare.set_axis_off()
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title)
    return figure, list(grid.flat[:count])


def columns_of(panel: Axes) -> int:
    """How many panels stand side by side."""
    place = panel.get_subplotspec()
    return place.get_gridspec().ncols if place is not None else 1


def panel_width_in(panel: Axes) -> float:
    """About how wide a panel is inside its frame."""
    figure = panel.get_figure(root=True)
    return (figure.get_figwidth() if figure is not None else COLUMN_IN) / columns_of(panel) - 0.4


def label_axes(drawn: Sequence[Axes], x: str, y: str) -> None:
    """Name the axes at the left and at the lower edge of the panels."""
    columns = columns_of(drawn[0])
    for number, axes in enumerate(drawn):
        if number % columns == 0:
            axes.set_ylabel(y)
        if number + columns >= len(drawn):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def per_cent(panel: Axes, end: float) -> None:
    """A y axis of shares; above 100 there is room for marks."""
    panel.set_ylim(0, end)
    panel.set_yticks(range(0, 101, 20))


def finish(figure: Figure, title: str | None, note: str) -> Figure:
    """Title and one legend above the panels, the small print below them."""
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    if len(handles) > 1:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", title=title,
            ncols=_columns(figure, list(handles)),
            title_fontproperties={"weight": "bold", "size": 8},
        )  # fmt: skip
    elif title:
        figure.suptitle(title)
    width = int(NOTE_LETTERS_PER_IN * figure.get_figwidth())
    note = "\n".join(textwrap.fill(line, width) for line in note.splitlines())
    figure.supxlabel(note, x=0.995, ha="right", **NOTE)
    return figure


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    """How many entries of a legend fit side by side (a letter is about 0.055 in wide)."""
    widths = [0.45 + 0.055 * len(label) for label in labels]
    if sum(widths) <= figure.get_figwidth():
        return len(labels)
    fitting = max(1, int(figure.get_figwidth() / max(widths)))
    return math.ceil(len(labels) / math.ceil(len(labels) / fitting))


def path_label(path: str) -> str:
    """A sweep path as an axis label: the path itself and the unit that its ending names."""
    for ending, unit in (("_rps", "req/s"), ("_gb_s", "GB/s"), ("_ms", "ms"), ("_s", "s")):
        if path.endswith(ending):
            return f"{path} ({unit})"
    return path


def shown(value: object) -> str:
    """A label's value in a legend or a panel title."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def look(number: int) -> tuple[str, str]:
    """Colour and marker of the n-th line; beyond the palette colours return with other markers."""
    size = len(PALETTE)
    marker = MARKERS[(number + number // size) % len(MARKERS)]
    return PALETTE[number % size], marker


def held(seeds: Iterable[object], points: int, requests: int, fixed: Mapping[str, object]) -> str:
    """What a figure rests on: its seeds, points and requests, and the values that it fixes."""
    known = list(dict.fromkeys(seeds))
    numbers = sorted(n for n in known if isinstance(n, int))
    if len(numbers) == len(known) > 2 and numbers[-1] - numbers[0] == len(known) - 1:
        which = f"{numbers[0]} to {numbers[-1]}"
    else:
        which = ", ".join(map(str, known[:SEEDS])) + (", ..." if len(known) > SEEDS else "")
    parts = [f"seed{'' if len(known) == 1 else 's'} {which}", counted(points, "point")]
    values = [f"{path} = {shown(value)}" for path, value in fixed.items()]
    return ", ".join([*parts, counted(requests, "request"), *values])


def thousands(value: float, _position: int | None = None) -> str:
    """A tick label: 1,200,000 and not 1.2 with a factor elsewhere."""
    return f"{value:,.12g}"


def spread(values: np.ndarray, ratio: float = 16.0) -> bool:
    """Whether positive values span so much that only a logarithmic axis shows them."""
    return bool(values.size and values.min() > 0 and values.max() >= ratio * values.min())
