"""What the results of a run say, in tables and notes, on a terminal and on a page alike."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bros_sim.core.labels import short_names
from bros_sim.engine.state import Refusal
from bros_sim.metrics.catalogue import METRICS
from bros_sim.metrics.intervals import band, half_widths, shifted
from bros_sim.plots.style import shown
from bros_sim.report.tables import Part, Printed, Row, Table, number, plain_rows, records
from bros_sim.study.results import MODEL_LEN, PointResult, ResultSet

RETENTION, VERDICT = "be_retention", "saturation"
COLUMNS = {
    "slo_attainment": "SLO met %",
    "mean_ttft_ms": "TTFT mean ms",
    "p50_ttft_ms": "p50",
    "p99_ttft_ms": "p99",
    "mean_tpot_ms": "TPOT mean ms",
    "p99_tpot_ms": "p99",
    "output_throughput_steady": "tokens/s",
    RETENTION: "BE kept %",
    "num_preemptions": "preempted",
    VERDICT: "load",
}
"""Metric -> heading of `run`'s table; a mean over the seeds."""
BANDED = ("slo_attainment", "mean_ttft_ms", "mean_tpot_ms", "output_throughput_steady")
"""Those of them that show a band, where there are draws."""
SPREAD = (*BANDED, RETENTION)  # those that show their interval, where there are seeds
SPREAD_NOTE = (
    "means over {seeds} seeds, ± half of the 95 % interval; p50 and p99 are means of the seeds'"
    " percentiles; all columns: means.csv"
)
BAND_NOTE = "(low to high): the middle 95 % over the draws of the latency model, about this mean"
FATES = ("rejected", "unfinished")
"""Ends of requests that a reader must know about."""
REFUSED = {
    Refusal.TOO_LONG.value: "longer than the model length",
    Refusal.NEVER_FITS.value: "with more KV than a replica has",
    Refusal.TURNED_AWAY.value: "by the policy",
}


@dataclass(frozen=True)
class RunResults(Printed):
    """The results of an experiment: its points, the capacities read off them, and their order."""

    results: ResultSet
    rates: pd.DataFrame
    orders: pd.DataFrame

    def parts(self) -> Iterator[Part]:
        yield results_table(self.results)
        yield from mirrors(self.results)
        yield from (f"warning: {line}" for line in warnings(self.results))
        if not self.rates.empty:
            yield capacity_table(self.rates)
        if not self.orders.empty:
            yield _order_table(self.orders)

    def plain(self) -> dict[str, object]:
        tables = {"rows": self.results.summary(), "capacity": self.rates}
        tables |= {"order": self.orders} if self.results.drawn else {}
        content = {key: plain_rows(table) for key, table in tables.items()}
        return {"name": self.results.name, "folder": str(self.results.folder), **content}


def _order_table(table: pd.DataFrame) -> Table:
    rest = list(table.columns[: table.columns.get_loc("capacity")])
    rows = []
    for keys, group in table.groupby([*rest, "first", "second"], sort=False, dropna=False):
        found = records(group)
        cells = (f"{row['higher']} ({row['agreeing']} of {row['draws']})" for row in found)
        rows.append([*map(shown, keys[:-2]), " / ".join(map(shown, keys[-2:])), *cells])
    headings = [*short_names(rest).values(), "systems", *dict.fromkeys(table["capacity"])]
    title = "The higher capacity, and the draws in the order of the nominal model:"
    return Table(headings, rows, title)


def rows_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows of like keys."""
    columns = list(rows[0]) if rows else []
    headings = list(short_names(columns).values())
    return Table(headings, [[shown(row[name]) for name in columns] for row in rows])


def results_table(results: ResultSet) -> Table:
    """One row per system, grid point and class: means over seeds; none if no point succeeded."""
    frame = results.table()
    labels = results.cells
    good = frame[frame["error"] == ""]
    if good.empty:
        return Table([], [], notes=["No point succeeded."])
    columns = {key: heading for key, heading in COLUMNS.items() if key in frame or key != RETENTION}
    keys = [*labels, "class"]
    bands = _bands(good, results.draws(), keys)
    kept = good[(good["class"] != "all") & (good["arrived"].astype(float) > 0)]
    numbers = [name for name in columns if name != VERDICT]
    groups = kept.astype(dict.fromkeys(numbers, float)).groupby(keys, sort=False, dropna=False)
    verdicts = groups[VERDICT].agg(lambda found: ", ".join(dict.fromkeys(found)))
    means = groups[numbers].mean().to_dict("index")
    halves = half_widths(groups[[n for n in numbers if n in SPREAD]]).to_dict("index")
    rows = []
    for (at, mean), half, verdict in zip(means.items(), halves.values(), verdicts, strict=True):
        cell = tuple(map(shown, at if isinstance(at, tuple) else (at,)))
        found = (
            _mean(mean[name], half.get(name, math.nan), name) + bands.get((*cell, name), "")
            for name in numbers
        )
        rows.append([*cell, *found, verdict])  # the last of the columns
    headings = [*short_names(labels).values(), "class", *columns.values()]
    return Table(headings, rows, notes=[*_spread_note(good), *[BAND_NOTE] * bool(bands)])


def _spread_note(good: pd.DataFrame) -> Iterator[str]:
    labels = [*good.columns[: good.columns.get_loc("class")].drop("seed")]
    counts = good.groupby(labels, dropna=False)["seed"].nunique()
    least, most = int(counts.min()), int(counts.max())
    if most > 1:
        yield SPREAD_NOTE.format(seeds=most if least == most else f"{least} to {most}")


def capacity_table(table: pd.DataFrame) -> Table:
    """The table of `capacities`: one row per system and point of the other axes."""
    labels = list(table.columns[: table.columns.get_loc("capacity")])
    rates = list(dict.fromkeys(table["capacity"]))
    unsteady = table["saturation"].fillna("") if "saturation" in table else ""  # of older versions
    table = table.assign(saturation=unsteady)
    rows = [
        [*map(shown, keys), *map(_rate, records(group))]
        for keys, group in table.groupby(labels, sort=False, dropna=False)
    ]
    joint = any("BE@" in rate for rate in rates)
    best_effort = " (BE@50: and half of the BE-only throughput)" if joint else ""
    title = f"Requests/s ({table['load'].iloc[0]}) that keep 90 % and 99 % SLO met{best_effort}:"
    notes = []
    words = sorted({word for at in table["saturation"] for word in at.split(", ") if word})
    if words:
        what = f"a run at the loads around it is {' or '.join(words)}"
        notes.append(f"* {what}: the answer depends on duration_s")
    if any("?" in cell for row in rows for cell in row[-len(rates) :]):
        notes.append("± ?: the curve of some seed does not cross within the loads of the sweep")
    return Table([*short_names(labels).values(), *rates], rows, title, notes)


def _bands(
    nominal: pd.DataFrame, draws: pd.DataFrame, keys: list[str]
) -> dict[tuple[str, ...], str]:
    """Cell of the table (texts of ``keys``, metric) -> what the draws make of its mean."""
    if draws.empty:
        return {}
    draws, found = draws[draws["error"] == ""], {}
    for name in BANDED:
        moved = shifted(nominal, draws, keys, name)
        for cell, group in moved.groupby(keys, sort=False, dropna=False)[name]:
            most = 1.0 if METRICS[name].unit == "share" else math.inf
            ends = (min(max(end, 0.0), most) for end in band(group.to_numpy(float)))
            found[(*map(shown, cell), name)] = f" ({' to '.join(_value(e, name) for e in ends)})"
    return found


def _rate(row: Row) -> str:
    """The rate with its interval and the band over the draws; a star where no steady state is."""
    text = _nominal_rate(row)
    if not math.isnan(row.get("draws", math.nan)):
        low, high = row["low_rps"], row["high_rps"]
        text += f" ({low:.3g} {'or more' if math.isnan(high) else f'to {high:.3g}'})"
    return text + ("*" if row["saturation"] else "")


def _nominal_rate(row: Row) -> str:
    """The rate, or on which side of the grid it lies."""
    if math.isnan(row["at_least_rps"]):
        return f"below {row['below_rps']:g}"
    if math.isnan(row["below_rps"]):
        return f"at least {row['at_least_rps']:g}"
    if row["seeds"] == 1:
        return f"{row['rate_rps']:.3g}"
    half = row["half_width_rps"]
    return f"{row['rate_rps']:.3g} ± {'?' if math.isnan(half) else f'{half:.2g}'}"


def _mean(mean: float, half_width: float, name: str) -> str:
    half = "" if math.isnan(half_width) else f" ± {_value(half_width, name)}"
    return _value(mean, name) + half


def _value(value: float, name: str) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if METRICS[name].unit == "share" else number(value)


def _by_system(results: ResultSet) -> dict[str, list[PointResult]]:
    found: dict[str, list[PointResult]] = {}
    for point in results.points:
        if not point.error:
            found.setdefault(str(point.labels["system"]), []).append(point)
    return found


def mirrors(results: ResultSet) -> list[str]:
    """What each system mirrors."""
    systems = _by_system(results).items()
    return [f"{name} mirrors {points[0].facts['mirrors']}" for name, points in systems]


def warnings(results: ResultSet) -> list[str]:
    """What a reader must know before trusting the numbers."""
    systems = _by_system(results).items()
    return [f"{name}: {warning}" for name, points in systems for warning in _warnings(points)]


def _warnings(points: Sequence[PointResult]) -> Iterator[str]:
    total = {key: sum(_whole(point, key) for point in points) for key in ("arrived", *FATES)}
    if not total["arrived"]:
        yield "no request arrived after warmup_s"
    why = {"rejected": _refused(points), "unfinished": "drain_s was over; they count as bad"}
    for key in FATES:
        if total[key]:
            yield f"{total[key]:,.0f} of {total['arrived']:,.0f} requests {key}: {why[key]}"
    outside = max(_whole(point, "extrapolated_share") for point in points)
    if outside > 0:
        what = f"{100 * outside:.1f} % of the iterations of a point lie outside the range"
        yield f"up to {what} that the latency model was fitted on"


def _refused(points: Sequence[PointResult]) -> str:
    """Each reason with its count; what an earlier version stored has none."""
    counts: Counter[str] = Counter()
    for point in points:
        counts.update(point.refusals)
    if counts.total() < sum(_whole(point, "rejected") for point in points):
        return "they could never fit, or the policy turned them away"
    words = dict(REFUSED)
    lengths = {
        point.facts[MODEL_LEN] for point in points if Refusal.TOO_LONG.value in point.refusals
    }
    if len(lengths) == 1:
        words[Refusal.TOO_LONG.value] += f" of {lengths.pop():,}"
    return ", ".join(f"{counts[reason]:,} {words[reason]}" for reason in words if counts[reason])


def _whole(point: PointResult, key: str) -> float:
    return float(point.summary["all"][key] or 0)
