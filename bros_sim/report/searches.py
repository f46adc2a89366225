"""What the searches for capacity and for parameters write and say."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bros_sim.core.labels import short_names
from bros_sim.experiment.build import profile_of
from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Measure
from bros_sim.metrics.search import rows
from bros_sim.plots.searches import draw_capacity
from bros_sim.report.figure_files import write_figure
from bros_sim.report.tables import Part, Printed, Row, Table, plain_rows, records
from bros_sim.report.verdict import amount
from bros_sim.study.capacity import Cell, Question, Variants, answers, evaluations
from bros_sim.study.files import as_json, made_by, replace_file
from bros_sim.study.store import Store

LONGEST_NAME = 150  # letters of the name of a search's folder


def estimate(measure: Measure, sample: NDArray[np.float64]) -> str:
    """Mean over seeds and 95 % t interval: ``93.1 ± 1.2 %``; ``-`` without any value."""
    if not sample.size:
        return f"- {measure.unit}"
    half = f" ± {amount(measure, half_width(sample))}" if sample.size > 1 else ""
    return f"{amount(measure, float(sample.mean()))}{half} {measure.unit}"


def write_search(
    store: Store, kind: str, words: str, tables: Mapping[str, pd.DataFrame],
    made_from: Mapping[str, object], figure: Figure | None,
) -> Path:  # fmt: skip
    """Write a search into a folder beside ``points``; its name says in words what was asked."""
    text = words.replace(">=", "min").replace("<=", "max")
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    folder = store.folder / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        content = frame.to_csv(index=False, lineterminator="\n").encode()
        replace_file(folder / f"{table}.csv", content)
    replace_file(folder / "provenance.json", as_json({**made_by(), **made_from}))
    if figure is not None:
        write_figure(folder, kind, figure)
    return folder


@dataclass(frozen=True)
class Capacity(Printed):
    """What a search for capacity found.

    ``answers`` has a row for each system and point of the other axes, ``evaluations`` for each
    value that was run.
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
        cells = {tuple(str(row[name]) for name in by): row for row in records(found)}
        yield Table(headings, [[*names, *_cells(row, question)] for names, row in cells.items()])
        for names, row in cells.items():
            if not row["error"] and row["load"] not in {"", "stable"}:
                who = ", ".join(names)
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
        failed = [row for row in records(self.answers) if row["error"]]
        return [f"failed: {', '.join(str(row[n]) for n in by)}: {row['error']}" for row in failed]


def evaluated(cell: Cell, value: float, vary: str) -> str:
    """One line about a value that was just run."""
    measures = [target.measure for target in cell.goal.targets]
    samples = zip(measures, rows(cell.found[value]).T, strict=True)
    said = [f"{measure} {estimate(measure, sample)}" for measure, sample in samples]
    who = ", ".join(map(str, cell.labels.values()))
    seeds = f"{len(cell.found[value])} seeds"
    return f"{who}: {vary} = {value:g}, {seeds}: {', '.join(said)}: {cell.status(value)}"


def write_capacity(cells: Sequence[Cell], variants: Variants, store: Store) -> Capacity:
    """Write what was found beside the points."""
    question, experiment = variants.question, variants.at(variants.start)
    found, run = answers(cells, question, profile_of(experiment.spec).tp), evaluations(cells)
    points = [
        {"labels": dict(point.labels), "value": value, "key": point.key, "be_alone": point.baseline}
        for cell in cells
        for value, runs in cell.points.items()
        for point in runs.values()
    ]
    targets = [*map(str, question.targets)]
    asked = {**vars(question), "targets": targets}
    made_from = {"asked": asked, "experiment": experiment.document.data, "points": points}
    by = list(cells[0].labels)
    folder = write_search(
        store, "capacity", " ".join([question.vary, *targets]),
        {"capacity": found, "evaluations": run}, made_from,
        draw_capacity(found, run, question.targets, by) if len(run) else None,
    )  # fmt: skip
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
    if not math.isnan(row["kept"]):
        return f"{'at most' if question.least else 'at least'} {row['kept']:.4g}"
    if not math.isnan(row["missed"]):
        return f"{'above' if question.least else 'below'} {row['missed']:.4g}"
    return "undecided"
