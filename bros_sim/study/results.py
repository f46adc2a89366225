"""The results of an experiment, as tables and figures see them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from bros_sim.core import columns as tables
from bros_sim.core.columns import Column
from bros_sim.core.errors import InputError
from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import Measure
from bros_sim.metrics.tables import as_table

REQUESTS, STEPS = "requests.parquet", "steps.parquet"
DECISIONS = "decisions.parquet"
ENGINES, REFUSALS, MODEL_LEN = "engines", "refusals", "max_model_len"
"""Keys of summary.json; the last two where requests were rejected."""
SERVED = Measure("output_throughput_steady", "be")
"""What ``be_retention`` compares: tokens at their own time, so that the drain does not count."""
EARLIER = "an earlier version stored this point, run it again with --overwrite:"
DRAW = "draw"
"""Label of a point under a drawn latency model; the nominal one is draw 0."""
CHOICES = 20
"""How many points a message lists."""

Labels = Mapping[str, Any]
"""``system``, every sweep path (any YAML value), and ``seed``."""
Summary = Mapping[str, Mapping[str, bool | int | float | str | None]]
"""Class (rt | be | all) -> metric -> value."""


@dataclass(frozen=True)
class PointResult:
    """One point of an experiment: its labels and what it measured, or its ``error``.

    What an earlier version stored may lack a table or a column: an InputError where it is read.
    ``baseline`` is the key of the BE-only baseline that ``be_retention`` was measured against.
    """

    labels: Labels
    key: str
    folder: Path
    summary: Summary = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    error: str = ""
    baseline: str = ""

    def requests(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One row per arrived request as ``metrics.request_metrics`` makes it."""
        return _stored(self.folder / REQUESTS, tables.REQUESTS, columns)

    def steps(self) -> pd.DataFrame:
        """One row per stretch of like iterations."""
        return _stored(self.folder / STEPS, tables.STEPS)

    def engines(self) -> pd.DataFrame:
        """One row per engine of the run."""
        rows = self.facts.get(ENGINES)
        if not isinstance(rows, list):
            raise InputError(f"{self.folder}: {EARLIER} it lists no engines")
        return as_table(tables.ENGINES, pd.DataFrame(rows).to_dict("series"))

    @property
    def refusals(self) -> Mapping[str, int]:
        """Value of `Refusal` -> how many it rejected; none where an earlier version stored it."""
        found = self.facts.get(REFUSALS)
        return found if isinstance(found, dict) else {}

    def value(self, measure: Measure) -> float:
        """The measure's value; NaN if it has none here."""
        value = self.summary[measure.service_class].get(measure.metric)
        return float(value) if isinstance(value, int | float) else math.nan

    def beside(self, baseline: "PointResult") -> "PointResult":
        """The same with ``be_retention``, measured against its BE-only baseline."""
        if self.error or baseline.error:
            return self
        mine, whole = (result.value(SERVED) for result in (self, baseline))
        kept = mine / whole if whole > 0 else math.nan
        best_effort = {**self.summary["be"], "be_retention": kept}
        return replace(self, summary={**self.summary, "be": best_effort}, baseline=baseline.key)

    @property
    def words(self) -> str:
        """As `label_words` says."""
        return label_words(self.labels)

    def needed(self) -> "PointResult":
        """The point; if it failed, an InputError with why."""
        if self.error:
            raise InputError(f"{self.words}: this point failed: {self.error}")
        return self

    @property
    def has_decisions(self) -> bool:
        """Whether a decision log was asked for when the point ran."""
        return DECISIONS in self.facts.get("files", ())  # type: ignore[operator]

    def decisions(self) -> pd.DataFrame:
        """One row per decision as the replica logs it."""
        return pd.read_parquet(self.folder / DECISIONS)


@dataclass(frozen=True)
class ResultSet:
    """All points of one experiment: systems x grid x seeds; ``drawn``: systems x grid x draws."""

    name: str
    folder: Path
    points: Sequence[PointResult]
    drawn: Sequence[PointResult] = ()

    def table(self) -> pd.DataFrame:
        """One row per point and class."""
        return _table(self.points)

    @property
    def cells(self) -> list[str]:
        """The columns over whose seeds means are taken: ``system`` and the sweep paths."""
        return list(seedless(self.points[0].labels)) if self.points else []

    def draws(self) -> pd.DataFrame:
        """The same of the draws, with a column ``draw``; empty without any."""
        return _table(self.drawn)

    def summary(self) -> pd.DataFrame:
        """summary.csv as a frame: all rows, and the column ``draw`` if there are draws."""
        if not self.drawn:
            return self.table()
        nominal = [replace(point, labels={**point.labels, DRAW: 0}) for point in self.points]
        return _table([*nominal, *self.drawn])

    def one(self, number: int | None, wanted: Labels) -> PointResult:
        """The point with that number (from 1, as in summary.csv) and labels; None fits any."""
        asked = [(name, value) for name, value in wanted.items() if value is not None]
        points = list(enumerate(self.points, 1))
        fits = [(n, point) for n, point in points if number in {None, n}]
        for name, value in asked:
            fits = [(n, point) for n, point in fits if point.labels[name] == value]
        if len(fits) == 1:
            return fits[0][1]
        listed = fits or points
        lines = [f"  --point {n}: {point.words}" for n, point in listed[:CHOICES]]
        more = [f"  and {len(listed) - CHOICES} more"] if len(listed) > CHOICES else []
        what = "which point? These fit" if fits else "no such point. There are"
        raise InputError(f"{self.folder}: {what}:", *lines, *more)


@contextmanager
def undamaged(folder: Path) -> Iterator[None]:
    """Reads the files of results; an InputError if one of them is damaged."""
    try:
        yield
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{folder}: damaged, run it again: {what}") from None


def _stored(
    path: Path, columns: Sequence[Column], chosen: Sequence[str] | None = None
) -> pd.DataFrame:
    """Some columns of a stored table, or all of them; flags that may be missing as such."""
    wanted = [c for c in columns if c.stored and (chosen is None or c.name in chosen)]
    known = pq.read_schema(path).names
    for column in wanted:
        if column.name not in known:
            raise InputError(f"{path}: {EARLIER} it has no column {column.name}")
    table = pd.read_parquet(path, columns=[column.name for column in wanted])
    flags = {column.name: column.dtype for column in wanted if column.dtype == "boolean"}
    return table.astype(flags) if flags else table


def _table(points: Sequence[PointResult]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for point in points:
        labels = {name: show_label(value) for name, value in point.labels.items()}
        summary: Summary = {"all": {}} if point.error else point.summary
        for name, metrics in summary.items():
            rows.append({**labels, "class": name, **metrics, "error": point.error})
    known = dict.fromkeys(key for row in rows for key in row if key != "error")
    return pd.DataFrame(rows, columns=[*(known or ["class"]), "error"], dtype=object)


def saturation(results: Iterable[PointResult], service_class: str) -> str:
    """The saturation verdicts of some runs, each once."""
    verdicts = (str(one.summary[service_class]["saturation"]) for one in results)
    return ", ".join(dict.fromkeys(verdicts))


def seedless(labels: Labels) -> dict[str, Any]:
    """What all seeds have in common."""
    return {name: value for name, value in labels.items() if name != "seed"}


def label_words(labels: Labels) -> str:
    """``system=BROS, rate_rps=4, seed=0``."""
    names = short_names(labels)
    return ", ".join(f"{names[name]}={show_label(value)}" for name, value in labels.items())


def show_label(value: object) -> object:
    """A label as one cell: numbers and text as they are, mappings as JSON."""
    return json.dumps(value) if isinstance(value, dict | list) else value
