"""The page: everything that is on it, and the template that puts it there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bros_sim.plots.cdf import CDF_METRICS
from bros_sim.plots.spec import Results, axes_of
from bros_sim.plots.style import CLASS_COLOURS, WIDE_X, shown, spread
from bros_sim.report import charts, data, texts
from bros_sim.report.charts import Chart
from bros_sim.report.data import Row
from bros_sim.report.settings import Layout, layout_of
from bros_sim.study.files import replace_file
from bros_sim.study.results import ResultSet, undamaged

Groups = dict[str, list[Chart]]
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
    """The page as a file: it needs no other, and the same results give the same bytes.

    ``provenance`` is provenance.json; ``capacity`` capacity.csv, empty if there is none.
    """
    environment = Environment(
        loader=PackageLoader("bros_sim.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    layout, table = layout_of(axes_of(results.points)), results.table()
    groups, rows = _figures(results, table, layout)
    drawn = [chart for group in groups.values() for chart in group]
    plain = [chart.plain() for chart in drawn]
    text = environment.get_template("page.html.j2").render(
        **_controls(layout),
        **texts.of_results(results, table, capacity),
        **texts.of_provenance(results, provenance),
        **groups,
        charts=drawn,
        data={"data": rows, "charts": plain, "systems": layout.systems, "at": 0},
        css=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        library=Markup(_library()) if drawn else "",
    )
    return text.encode()


def _controls(layout: Layout) -> dict[str, object]:
    """What a reader chooses from."""
    numbers = sorted({setting.x for setting in layout.runs()})
    return {
        "systems": list(zip(layout.systems, charts.colours(layout), strict=True)),
        "choices": layout.choices,
        "class_colours": CLASS_COLOURS,
        "at_title": layout.x_title,
        "at_values": [(n, shown(layout.x_values[n])) for n in numbers],
        "left_out": texts.left_out(layout),
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
    timelines = charts.timelines(end_s) if rows["timeline"] else []
    cdfs = list(_cdfs(rows["cdf"], layout))
    return {"curves": curves, "cdfs": cdfs, "timelines": timelines}, rows


def _sweep_axis(layout: Layout) -> tuple[tuple[float, float], bool]:
    """The ends of the x axis of a sweep, and whether it is logarithmic."""
    if not layout.numeric:
        return (0.0, 1.0), False
    values = np.array(layout.x_values, np.float64)
    log = spread(values, WIDE_X)
    low, high = float(values.min()), float(values.max())
    if log:
        return (low / 1.1, high * 1.1), True
    margin = 0.04 * (high - low)
    return (low - margin, high + margin), False


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
    """Vega, Vega-Lite and Vega-Embed as one script."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", r"<\/script")
