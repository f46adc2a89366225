"""The figures of the page: which of them these results allow, with their data and their scales."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bros_sim.plots.cdf import CDF_METRICS
from bros_sim.plots.spec import Results
from bros_sim.plots.style import WIDE_X, spread
from bros_sim.report import charts, data
from bros_sim.report.charts import Chart
from bros_sim.report.data import Row
from bros_sim.report.settings import Layout

Groups = dict[str, list[Chart]]


def figures_of(
    results: Results, table: pd.DataFrame, layout: Layout
) -> tuple[Groups, dict[str, list[Row]]]:
    """Charts in groups, and the rows that they show by the name of their data.

    ``table`` is of the results. There is nothing of what no point has.
    """
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


def _cdfs(rows: Sequence[Row], layout: Layout) -> Iterable[Chart]:
    for metric in CDF_METRICS:
        values = np.array([v for row in rows if row["metric"] == metric for v in row["v"]])
        if values.size:
            low, high = float(np.quantile(values, 0.01)), float(values.max())
            log = spread(np.array([low, high]))
            margin = 0.05 * (high - low) or 0.5 * high or 1.0
            home = (low * 0.8, high * 1.1) if log else (max(0.0, low - margin), high + margin)
            yield charts.latency_cdf(layout, metric, home, log)
