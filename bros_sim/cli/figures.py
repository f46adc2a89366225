"""Figures: what an experiment asks for, checked before it runs and drawn after."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from bros_sim.config import Document
from bros_sim.core.errors import Fault, InputError
from bros_sim.core.labels import short_names
from bros_sim.plots import (
    PLOTS,
    Axes,
    FigureSpec,
    axes_of,
    draw,
    find_faults,
    nothing_to_draw,
    read,
    render,
    stem,
)
from bros_sim.report.terminal import say
from bros_sim.study.results import ResultSet, show_label
from bros_sim.study.store import replace_file

KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")


class HasLabels(Protocol):
    """A point, run or not."""

    @property
    def labels(self) -> Mapping[str, object]:
        """``system``, every sweep path, ``seed``."""
        ...


def read_figures(document: Document, points: Sequence[HasLabels]) -> list[FigureSpec]:
    """The entries of ``figures``, checked against the axes that the points span.

    Raises:
        InputError: With every fault of every entry.
    """
    axes = {
        name: list(dict.fromkeys(show_label(point.labels[name]) for point in points))
        for name in points[0].labels
    }
    specs: list[FigureSpec] = []
    faults: list[Fault] = []
    entries = document.get(("figures",))
    for n in range(len(entries) if isinstance(entries, list) else 0):
        try:
            spec = read(document, ("figures", n))
        except InputError as error:
            faults += error.faults
            continue
        specs.append(spec)
        found = find_faults(spec, axes)
        faults += [document.fault(("figures", n, *fault.path), fault.text) for fault in found]
    if faults:
        raise InputError(*faults)
    return specs


def draw_figures(
    specs: Sequence[FigureSpec], results: ResultSet, *, keep: bool = False
) -> list[str]:
    """Draw into ``figures/``, with a warning for what would be empty; the names of the files.

    Figures of an earlier drawing that are not drawn now are removed, unless told to ``keep`` them.
    """
    folder = results.folder / "figures"
    written = []
    used: Counter[str] = Counter()
    axes = axes_of(results.points)
    for spec in specs:
        name = stem(spec, axes) + (_fixed(spec, axes) if keep else "")
        used[name] += 1
        name = name if used[name] == 1 else f"{name}-{used[name]}"
        if why := nothing_to_draw(spec, results):
            say(f"warning: figure {name}: {why}")
            continue
        folder.mkdir(exist_ok=True)
        figure = draw(spec, results)
        for kind in KINDS:
            replace_file(folder / f"{name}.{kind}", render(figure, kind))
            written.append(f"{name}.{kind}")
    if not keep:
        _remove_others(folder, written)
    return written


def _fixed(spec: FigureSpec, axes: Axes) -> str:
    """The values that a figure fixes, as a part of its name: others may lie beside it."""
    values = spec.fixed(short_names(axes)).items()
    return "".join(f"-{re.sub(r'[^-.=a-zA-Z0-9_]+', '_', f'{n}={v}')}" for n, v in values)


def _remove_others(folder: Path, written: Sequence[str]) -> None:
    """Files of ours (by their names) that an earlier figure list has left."""
    for path in folder.glob("*.*"):
        ours = path.stem.partition("-")[0] in PLOTS and path.suffix[1:] in KINDS
        if ours and path.name not in written:
            path.unlink()
