"""The figures of an experiment: checked before it runs, drawn as files after."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from bros_sim.config import Document, parse
from bros_sim.core.errors import Fault, InputError
from bros_sim.core.labels import short_names
from bros_sim.plots import PLOTS, FigureSpec, draw, read, stem
from bros_sim.plots.spec import Axes, HasLabels, axes_of, find_faults, nothing_to_draw
from bros_sim.plots.style import render
from bros_sim.study.files import replace_file
from bros_sim.study.results import ResultSet
from bros_sim.study.store import open_results

KINDS = ("png", "svg")
T = TypeVar("T")


def read_figures(document: Document, points: Sequence[HasLabels]) -> list[FigureSpec]:
    """The entries of ``figures``; an `InputError` with every fault against the points' axes."""
    axes, entries = axes_of(points), document.get(("figures",))

    def checked(n: int) -> list[FigureSpec]:
        spec = read(document, ("figures", n))
        if found := find_faults(spec, axes):
            raise InputError(*(document.fault(("figures", n, *f.path), f.text) for f in found))
        return [spec]

    return _all(checked, range(len(entries) if isinstance(entries, list) else 0))


def _all(read_some: Callable[[T], list[FigureSpec]], items: Iterable[T]) -> list[FigureSpec]:
    """The figures of all items, or an `InputError` with every fault of every one."""
    specs: list[FigureSpec] = []
    faults: list[Fault] = []
    for item in items:
        try:
            specs += read_some(item)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return specs


@dataclass(frozen=True)
class Drawn:
    """The files that were written, and a line for each figure that would be empty."""

    files: list[Path]
    warnings: list[str]


def draw_figures(specs: Sequence[FigureSpec], results: ResultSet, *, keep: bool = False) -> Drawn:
    """Draw into ``figures/``; without ``keep`` those of an earlier drawing are removed."""
    folder, axes = results.folder / "figures", axes_of(results.points)
    drawn, used = Drawn([], []), Counter[str]()
    for spec in specs:
        name = stem(spec, axes) + (_fixed(spec, axes) if keep else "")
        used[name] += 1
        name = name if used[name] == 1 else f"{name}-{used[name]}"
        if why := nothing_to_draw(spec, results):
            drawn.warnings.append(f"warning: figure {name}: {why}")
            continue
        drawn.files.extend(write_figure(folder, name, draw(spec, results)))
    if not keep:
        _remove_others(folder, drawn.files)
    return drawn


def write_figure(folder: Path, name: str, figure: Figure) -> list[Path]:
    """The figure as PNG and as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.{kind}" for kind in KINDS]
    for path in files:
        replace_file(path, render(figure, path.suffix[1:]))
    return files


def plot(results: ResultSet | str | Path, *figures: str | Mapping[str, object]) -> Drawn:
    """Draw the figures of a finished run as files: those of its experiment, or the given ones.

    An `InputError` has every fault of every figure.
    """
    folder = results.folder if isinstance(results, ResultSet) else results
    found, experiment = open_results(folder)
    if figures:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in figures]

        def given(text: str) -> list[FigureSpec]:
            return read_figures(parse(f"figures: [{text}]", "--figure"), found.points)

        return draw_figures(_all(given, texts), found, keep=True)
    document = parse(json.dumps(experiment), str(found.folder / "provenance.json"))
    return draw_figures(read_figures(document, found.points), found)


def _fixed(spec: FigureSpec, axes: Axes) -> str:
    """The values that a figure fixes, as a part of its name: others may lie beside it."""
    values = spec.fixed(short_names(axes)).items()
    return "".join(f"-{re.sub(r'[^-.=a-zA-Z0-9_]+', '_', f'{n}={v}')}" for n, v in values)


def _remove_others(folder: Path, files: Sequence[Path]) -> None:
    """Files of ours (by their names) that an earlier figure list has left."""
    for path in folder.glob("*.*"):
        ours = path.stem.partition("-")[0] in PLOTS and path.suffix[1:] in KINDS
        if ours and path not in files:
            path.unlink()
