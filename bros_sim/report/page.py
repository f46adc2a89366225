"""The page: everything that is on it, and the template that puts it there."""

import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from bros_sim.core.labels import counted
from bros_sim.plots.cdf import CDF_METRICS
from bros_sim.plots.spec import Results, axes_of
from bros_sim.plots.style import CLASS_COLOURS, WIDE_X, shown, spread
from bros_sim.report import charts, data
from bros_sim.report.charts import Chart
from bros_sim.report.data import MAX_RUNS, Layout, Row, layout_of
from bros_sim.report.tables import Table
from bros_sim.report.text_tables import capacity_table, mirrors, results_table, warnings
from bros_sim.study.files import replace_file
from bros_sim.study.results import PointResult, ResultSet, undamaged
from bros_sim.study.store import RESOLVED

Groups = dict[str, list[Chart]]
MAX_TABLE_ROWS = 400
MAX_LINES = 40
MAX_DOCUMENTS = 12
MAX_LETTERS = 40_000  # letters of a YAML document that are shown
MAX_WORD = 400
MAX_BYTES = 3_000_000  # the page stays under this, and names what it leaves out


def write_page(results: ResultSet) -> Path:
    """Write report.html beside the results; an `InputError` if a file of them is damaged."""
    folder, rates = results.folder, results.folder / "capacity.csv"
    with undamaged(folder):
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        capacity = pd.read_csv(rates) if rates.is_file() else pd.DataFrame()
        page = render_page(results, provenance, capacity)
    replace_file(folder / "report.html", page)
    return folder / "report.html"


def render_page(results: ResultSet, provenance: Mapping[str, Any], capacity: pd.DataFrame) -> bytes:
    """The page as a file: it needs no other, and the same results give the same bytes."""
    environment = Environment(
        loader=PackageLoader("bros_sim.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    layout, table = layout_of(axes_of(results.points)), results.table()
    groups, rows = _figures(results, table, layout)
    drawn = [chart for group in groups.values() for chart in group]
    plain = [{"name": c.name, "spec": c.spec, "home": c.home, "log": c.log} for c in drawn]
    text = environment.get_template("page.html.j2").render(
        **_controls(layout),
        **_words(results, table, capacity),
        provenance=[(key, value[:MAX_WORD]) for key, value in _facts(results, provenance)],
        documents=list(_documents(results, provenance)),
        **groups,
        charts=drawn,
        data={"data": rows, "charts": plain, "systems": layout.systems, "at": 0},
        css=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        library=Markup(_library()) if drawn else "",
    )
    return text.encode()


def _controls(layout: Layout) -> dict[str, object]:
    numbers = sorted({setting.x for setting in layout.runs()})
    return {
        "systems": list(zip(layout.systems, charts.colours(layout), strict=True)),
        "choices": layout.choices,
        "class_colours": CLASS_COLOURS,
        "at_title": layout.x_title,
        "at_values": [(n, shown(layout.x_values[n])) for n in numbers],
        "left_out": _left_out(layout),
    }


def _words(results: ResultSet, table: pd.DataFrame, capacity: pd.DataFrame) -> dict[str, object]:
    failed = [f"{p.words}: {p.error}" for p in results.points if p.error]
    return {
        "name": results.name,
        "lead": _lead(results, table),
        "warnings": _first(warnings(results)),
        "mirrors": _first(mirrors(results)),
        "failed": _first(failed),
        "summary": _cut(results_table(results)),
        "capacity": None if capacity.empty else _cut(capacity_table(capacity)),
        "verdicts": _cut(data.verdict_table(table)),
        "marked": data.VERDICTS,
    }


def _figures(
    results: Results, table: pd.DataFrame, layout: Layout
) -> tuple[Groups, dict[str, list[Row]]]:
    """Charts in groups, and the rows that they show by the name of their data."""
    if all(point.error for point in results.points):
        return {"curves": [], "cdfs": [], "timelines": []}, {}
    judged = "rt" if data.has_attainment(table, "rt") else "be"
    rows = {
        "attainment": data.attainment_rows(table, results.draws(), layout, judged),
        "pareto": data.pareto_rows(table, layout),
        "cdf": data.cdf_rows(results, layout),
        "timeline": data.timeline_rows(results, table, layout),
    }
    curves = []
    if rows["attainment"]:
        curves.append(charts.attainment(layout, judged, *_sweep_axis(layout)))
    if rows["pareto"]:
        top = 1.05 * max(row["be_high"] for row in rows["pareto"])
        least = min(row["rt_low"] for row in rows["pareto"])
        curves.append(charts.pareto(layout, (max(0.0, least - 3.0), 102.0), top))
    end_s = max((row["end"] for row in rows["timeline"]), default=0.0)
    panels = charts.PANELS if rows["timeline"] else ()
    timelines = [charts.timeline(name, end_s) for name in panels]
    cdfs = list(_cdfs(rows["cdf"], layout))
    return {"curves": curves, "cdfs": cdfs, "timelines": timelines}, rows


def _sweep_axis(layout: Layout) -> tuple[tuple[float, float], bool]:
    if not layout.numeric:
        return (0.0, 1.0), False
    values = np.array(layout.x_values, np.float64)
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low)
    log = spread(values, WIDE_X)
    return ((low / 1.1, high * 1.1) if log else (low - margin, high + margin)), log


def _cdfs(rows: Sequence[Row], layout: Layout) -> Iterator[Chart]:
    for metric in CDF_METRICS:
        values = np.array([v for row in rows if row["metric"] == metric for v in row["v"]])
        if values.size:
            low, high = float(np.quantile(values, 0.01)), float(values.max())
            log = spread(np.array([low, high]))
            margin = 0.05 * (high - low) or 0.5 * high or 1.0
            home = (low * 0.8, high * 1.1) if log else (max(0.0, low - margin), high + margin)
            yield charts.latency_cdf(layout, metric, home, log)


def _resource(name: str) -> str:
    return (files("bros_sim.report") / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _library() -> str:
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", r"<\/script")


def _left_out(layout: Layout) -> str:
    every, held = sum(1 for _ in layout.settings()), len(layout.runs())
    most, systems = layout.most_settings, len(layout.systems)
    facts = [
        (most < every, f"Curves show the first {most:,} of {every:,} settings."),
        (held < every, f"Latencies and timelines are of {held:,} of {every:,} settings."),
        (systems > MAX_RUNS, f"They are of the first {MAX_RUNS} of {systems:,} systems."),
    ]
    lines = [text for holds, text in facts if holds]
    return " ".join([*lines, "`bros-sim plot` draws any."] if lines else [])


def _lead(results: ResultSet, table: pd.DataFrame) -> str:
    seeds = table["seed"].nunique()
    listed = [*map(shown, table["seed"].unique()[:8]), *(["..."] if seeds > 8 else [])]
    parts = [counted(table["system"].nunique(), "system"), counted(len(results.points), "point")]
    parts.append(f"{counted(seeds, 'seed')} ({', '.join(listed)})")
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
