"""The words of the page: tables, warnings, provenance, and the experiment as YAML."""

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from bros_sim.core.labels import counted
from bros_sim.plots.style import shown
from bros_sim.report import data
from bros_sim.report.settings import MAX_RUNS, Layout
from bros_sim.report.tables import Table
from bros_sim.report.text_tables import capacity_table, mirrors, results_table, warnings
from bros_sim.study.results import PointResult, ResultSet
from bros_sim.study.store import RESOLVED

MAX_TABLE_ROWS = 400
MAX_LINES = 40
MAX_DOCUMENTS = 12
MAX_LETTERS = 40_000  # letters of a YAML document that are shown
MAX_WORD = 400


def of_results(
    results: ResultSet, table: pd.DataFrame, capacity: pd.DataFrame
) -> dict[str, object]:
    """Head, warnings and tables."""
    good = any(not point.error for point in results.points)
    failed = [f"{p.words}: {p.error}" for p in results.points if p.error]
    return {
        "name": results.name,
        "lead": _lead(results, table),
        "warnings": _first(warnings(results)),
        "mirrors": _first(mirrors(results)),
        "failed": _first(failed),
        "summary": _cut(results_table(results)),
        "capacity": None if capacity.empty else _cut(capacity_table(capacity)),
        "verdicts": _cut(data.verdict_table(table)) if good else Table([], []),
        "marked": data.VERDICTS,
    }


def of_provenance(results: ResultSet, provenance: Mapping[str, Any]) -> dict[str, object]:
    """What made these results, and the experiment."""
    return {
        "provenance": [(key, value[:MAX_WORD]) for key, value in _facts(results, provenance)],
        "documents": list(_documents(results, provenance)),
    }


def left_out(layout: Layout) -> str:
    """What the charts do not hold, if anything."""
    every, held = sum(1 for _ in layout.settings()), len(layout.runs())
    lines = []
    if layout.most_settings < every:
        lines.append(f"Curves show the first {layout.most_settings:,} of {every:,} settings.")
    if held < every:
        lines.append(f"Latencies and timelines are of {held:,} of {every:,} settings.")
    if len(layout.systems) > MAX_RUNS:
        lines.append(f"They are of the first {MAX_RUNS} of {len(layout.systems):,} systems.")
    return " ".join([*lines, "`bros-sim plot` draws any."] if lines else [])


def _lead(results: ResultSet, table: pd.DataFrame) -> str:
    """How much there is."""
    seeds = table["seed"].nunique()
    listed = [*map(shown, table["seed"].unique()[:8]), *(["..."] if seeds > 8 else [])]
    parts = [
        counted(table["system"].nunique(), "system"), counted(len(results.points), "point"),
        f"{counted(seeds, 'seed')} ({', '.join(listed)})",
    ]  # fmt: skip
    if "arrived" in table:
        arrived = table.loc[table["class"] == "all", "arrived"].astype(float).sum()
        parts.append(f"{counted(int(arrived), 'request')} after the warm-up")
    if results.drawn:
        parts.append(f"{len(results.drawn):,} points of draws of the latency model")
    return ", ".join(parts) + "."


def _first(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - MAX_LINES:,} more"] if len(lines) > MAX_LINES else []
    return [line[:MAX_WORD] for line in lines[:MAX_LINES]] + more


def _cut(table: Table) -> Table:
    if len(table.rows) <= MAX_TABLE_ROWS:
        return table
    note = f"The first {MAX_TABLE_ROWS} of {len(table.rows):,} rows; summary.csv has them all."
    return replace(table, rows=table.rows[:MAX_TABLE_ROWS], notes=[*table.notes, note])


def _facts(results: ResultSet, provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "command", shlex.join(map(str, provenance.get("command", ())))
    software = provenance.get("software", {})
    yield "software", ", ".join(f"{name} {version}" for name, version in software.items())
    yield "platform", str(provenance.get("platform", ""))
    good = [point for point in results.points if not point.error]
    for name in ("profile", "profile_label", "latency_model"):
        found = dict.fromkeys(str(point.facts.get(name, "")) for point in good)
        yield name.replace("_", " "), ", ".join(found)
    inputs = list(provenance.get("inputs", {}).items())
    for path, sha in inputs[:MAX_LINES]:
        yield f"sha256 of {path}"[:MAX_WORD], str(sha)
    if len(inputs) > MAX_LINES:
        yield "further files", f"{len(inputs) - MAX_LINES:,}, in provenance.json"


def _documents(results: ResultSet, provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The experiment as it was given, and the first point of each system with every default."""
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(provenance["experiment"], text)
    yield "as it was given", _whole(text.getvalue())
    first: dict[object, PointResult] = {}
    for point in results.points:
        if not point.error and (point.folder / RESOLVED).is_file():
            first.setdefault(point.labels["system"], point)
    for point in [*first.values()][:MAX_DOCUMENTS]:
        resolved = (point.folder / RESOLVED).read_text(encoding="utf-8")
        yield f"resolved, with every default: {point.words}", _whole(resolved)


def _whole(text: str) -> str:
    if len(text) <= MAX_LETTERS:
        return text
    return f"{text[:MAX_LETTERS]}\n... {len(text) - MAX_LETTERS:,} more letters: provenance.json\n"
