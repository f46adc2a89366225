"""What a search for capacity writes and says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bros_sim.core.labels import short_names
from bros_sim.experiment.build import profile_of
from bros_sim.metrics.search import rows
from bros_sim.plots.searches import draw_capacity
from bros_sim.report.searches import (
    estimate,
    search_folder,
    write_figure,
    write_provenance,
    write_table,
)
from bros_sim.report.tables import Part, Printed, Row, Table, plain_rows, records
from bros_sim.study.capacity import Cell, Question, Variants, answers, evaluations
from bros_sim.study.store import Store

SEARCHES = "capacity"
"""Folder of the searches beside ``points``."""


@dataclass(frozen=True)
class Capacity(Printed):
    """What a search for capacity found.

    Attributes:
        name: Of the experiment.
        folder: The files of the search.
        question: What was asked.
        answers: A row for each system and point of the other axes.
        evaluations: A row for each value that was run.
    """

    name: str
    folder: Path
    question: Question
    answers: pd.DataFrame
    evaluations: pd.DataFrame

    def parts(self) -> Iterator[Part]:
        found, question = self.answers, self.question
        by = list(found.columns[: found.columns.get_loc("vary")])
        which = "Least" if question.least else "Highest"
        limits = " and ".join(map(str, question.targets))
        yield f"{which} {question.vary} that keeps {limits}:"
        value = short_names([*by, question.vary])[question.vary]
        gpus = ["GPUs"] if "gpus" in found else []
        headings = [*short_names(by).values(), value, "95 % interval", *gpus]
        headings += ["kept", "missed", "binds", "seeds", "load"]
        rows = records(found)
        yield Table(
            headings, [[*(str(row[n]) for n in by), *_cells(row, question)] for row in rows]
        )
        for row in rows:
            if not row["error"] and row["load"] not in {"", "stable"}:
                who = ", ".join(str(row[name]) for name in by)
                what = f"the runs at {row['kept']:g} that keep it are {row['load']}"
                yield f"warning: {who}: {what}: the answer depends on duration_s"

    def plain(self) -> dict[str, object]:
        targets = [*map(str, self.question.targets)]
        head = {"name": self.name, "folder": str(self.folder), "targets": targets}
        return {**head, "answers": plain_rows(self.answers)}

    @property
    def failures(self) -> list[str]:
        """A line for each search that a failed run ended."""
        by = list(self.answers.columns[: self.answers.columns.get_loc("vary")])
        return [
            f"failed: {', '.join(str(row[name]) for name in by)}: {row['error']}"
            for row in records(self.answers)
            if row["error"]
        ]


def evaluated(cell: Cell, value: float, vary: str) -> str:
    """One line about a value that was just run."""
    known = rows(cell.found[value])
    said = []
    for number, target in enumerate(cell.goal.targets):
        said.append(f"{target.measure} {estimate(target.measure, known[:, number])}")
    who = ", ".join(str(value) for value in cell.labels.values())
    seeds = f"{len(cell.found[value])} seeds"
    return f"{who}: {vary} = {value:g}, {seeds}: {', '.join(said)}: {cell.status(value)}"


def write(cells: Sequence[Cell], variants: Variants, store: Store) -> Capacity:
    """Write what was found beside the points."""
    question, experiment = variants.question, variants.at(variants.start)
    words = " ".join([question.vary, *map(str, question.targets)])
    folder = search_folder(store, SEARCHES, words)
    found = answers(cells, question, profile_of(experiment.spec).tp)
    run = evaluations(cells)
    write_table(folder / "capacity.csv", found)
    write_table(folder / "evaluations.csv", run)
    points = [
        {"labels": dict(point.labels), "value": value, "key": point.key, "be_alone": point.baseline}
        for cell in cells
        for value, runs in cell.points.items()
        for point in runs.values()
    ]
    asked = {**vars(question), "targets": [*map(str, question.targets)]}
    write_provenance(folder, asked, experiment.document.data, points)
    if len(run):
        figure = draw_capacity(found, run, question.targets, list(cells[0].labels))
        write_figure(folder, "capacity", figure)
    return Capacity(experiment.spec.name, folder, question, found, run)


def _cells(row: Row, question: Question) -> list[str]:
    if row["error"]:
        return ["failed", *[""] * (7 if "gpus" in row else 6)]
    known = not math.isnan(row["value"])
    interval = f"{row['low']:.4g} to {row['high']:.4g}" if known else "-"
    gpus = [f"{row['gpus']:g}" if known else "-"] if "gpus" in row else []
    ends = ["-" if math.isnan(row[end]) else f"{row[end]:.4g}" for end in ("kept", "missed")]
    value = f"{row['value']:.4g}" if known else _bound(row, question)
    return [value, interval, *gpus, *ends, row["binds"] or "-", f"{row['seeds']}", row["load"]]


def _bound(row: Row, question: Question) -> str:
    """On which side of what was run it lies."""
    if not math.isnan(row["kept"]):
        return f"{'at most' if question.least else 'at least'} {row['kept']:.4g}"
    if not math.isnan(row["missed"]):
        return f"{'above' if question.least else 'below'} {row['missed']:.4g}"
    return "undecided"
