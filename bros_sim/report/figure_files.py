"""The figures of an experiment: checked before it runs, drawn as files after."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bros_sim.config import Document, parse
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
from bros_sim.study.files import replace_file
from bros_sim.study.results import ResultSet, show_label
from bros_sim.study.store import open_results

KINDS = ("png", "svg")


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


def given_figures(figures: Sequence[str], points: Sequence[HasLabels]) -> list[FigureSpec]:
    """Figures written one by one, each as an entry of ``figures``.

    Raises:
        InputError: With every fault of every one.
    """
    specs, faults = [], []
    for text in figures:
        try:
            specs += read_figures(parse(f"figures: [{text}]", "--figure"), points)
        except InputError as error:
            faults += list(error.faults)
    if faults:
        raise InputError(*faults)
    return specs


@dataclass(frozen=True)
class Drawn:
    """The files that were written, and a line for each figure that would be empty."""

    files: list[Path]
    warnings: list[str]


def draw_figures(specs: Sequence[FigureSpec], results: ResultSet, *, keep: bool = False) -> Drawn:
    """Draw into ``figures/``.

    Figures of an earlier drawing that are not drawn now are removed, unless ``keep`` is set.
    """
    folder = results.folder / "figures"
    files, warnings = [], []
    used: Counter[str] = Counter()
    axes = axes_of(results.points)
    for spec in specs:
        name = stem(spec, axes) + (_fixed(spec, axes) if keep else "")
        used[name] += 1
        name = name if used[name] == 1 else f"{name}-{used[name]}"
        if why := nothing_to_draw(spec, results):
            warnings.append(f"warning: figure {name}: {why}")
            continue
        folder.mkdir(exist_ok=True)
        figure = draw(spec, results)
        for kind in KINDS:
            files.append(folder / f"{name}.{kind}")
            replace_file(files[-1], render(figure, kind))
    if not keep:
        _remove_others(folder, files)
    return Drawn(files, warnings)


def plot(results: ResultSet | str | Path, *figures: str | Mapping[str, object]) -> Drawn:
    """Draw the figures of a finished run as files: those of its experiment, or the given ones.

    Raises:
        InputError: With every fault of every figure.
    """
    folder = results.folder if isinstance(results, ResultSet) else results
    found, experiment = open_results(folder)
    if figures:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in figures]
        return draw_figures(given_figures(texts, found.points), found, keep=True)
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
