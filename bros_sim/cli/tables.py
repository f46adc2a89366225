"""Results as tables on stdout."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from bros_sim.labels import short_names
from bros_sim.metric_table import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from bros_sim.results import PointResult, ResultSet

RETENTION = "be_retention"
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
    "saturation": "load",
}
"""Metric -> heading of `run`'s table; a mean over the seeds."""
BANDED = ("slo_attainment", "mean_ttft_ms", "mean_tpot_ms", "output_throughput_steady")
"""Those of them that show a band, where there are draws."""
BAND_NOTE = "(low to high): the middle 95 % over the draws of the latency model, about this mean"
FATES = {
    "rejected": "they could never fit, or the policy turned them away",
    "dropped": "the policy gave them up",
    "unfinished": "drain_s was over; they count as bad",
}
"""Ends of requests that a reader must know about, and why."""
WIDE = 240


def print_results(results: "ResultSet") -> None:
    """One row per system, grid point and class, means over the seeds; then what to keep in mind."""
    frame = results.table()
    labels = [
        name for name in (results.points[0].labels if results.points else ()) if name != "seed"
    ]
    good = frame[frame["error"] == ""]
    columns = {name: text for name, text in COLUMNS.items() if name in frame or name != RETENTION}
    bands = _bands(good, results.draws(), [*labels, "class"])
    rows = []
    for keys, group in good.groupby([*labels, "class"], sort=False, dropna=False):
        if group["arrived"].sum() and keys[-1] != "all":
            cell = tuple(map(_text, keys))
            rows.append(
                [*cell, *(_cell(group, name) + bands.get((*cell, name), "") for name in columns)]
            )
    headings = [*short_names(labels).values(), "class", *columns.values()]
    print_table(headings, rows)
    if bands:
        sys.stdout.write(f"{BAND_NOTE}\n")
    for line in _notes(results):
        sys.stdout.write(f"{line}\n")


def _bands(
    nominal: "pd.DataFrame", draws: "pd.DataFrame", keys: list[str]
) -> dict[tuple[str, ...], str]:
    """Cell of the table (texts of ``keys``, metric) -> what the draws make of its mean."""
    from bros_sim.intervals import band, shifted

    if draws.empty:
        return {}
    draws, found = draws[draws["error"] == ""], {}
    for name in BANDED:
        moved = shifted(nominal, draws, keys, name)
        for cell, group in moved.groupby(keys, sort=False, dropna=False)[name]:
            most = 1.0 if METRICS[name].unit == "share" else math.inf
            ends = (min(max(end, 0.0), most) for end in band(group.to_numpy(float)))
            found[(*map(_text, cell), name)] = f" ({' to '.join(_value(e, name) for e in ends)})"
    return found


def print_capacity(table: "pd.DataFrame") -> None:
    """One row per system and point of the other axes; nothing if there is nothing to say."""
    if table.empty:
        return
    labels = list(table.columns[: table.columns.get_loc("capacity")])
    rates = list(dict.fromkeys(table["capacity"]))
    rows = [
        [*map(_text, keys), *(_rate(row) for _, row in group.iterrows())]
        for keys, group in table.groupby(labels, sort=False, dropna=False)
    ]
    joint = any("BE@" in rate for rate in rates)
    best_effort = " (BE@50: and BE half of its throughput alone)" if joint else ""
    load = table["load"].iloc[0]
    sys.stdout.write(f"\nRequests/s ({load}) that keep 90 % and 99 % SLO met{best_effort}:\n")
    print_table([*short_names(labels).values(), *rates], rows)


def print_orders(table: "pd.DataFrame") -> None:
    """Which system has the higher capacity, a row per pair; nothing without draws."""
    if table.empty:
        return
    rest = list(table.columns[: table.columns.get_loc("capacity")])
    rows = []
    for keys, group in table.groupby([*rest, "first", "second"], sort=False, dropna=False):
        cells = (
            f"{row['higher']} ({row['agreeing']} of {row['draws']})" for _, row in group.iterrows()
        )
        rows.append([*map(_text, keys[:-2]), " / ".join(map(_text, keys[-2:])), *cells])
    sys.stdout.write("\nThe higher capacity, and the draws in the order of the nominal model:\n")
    print_table([*short_names(rest).values(), "systems", *dict.fromkeys(table["capacity"])], rows)


def _rate(row: "pd.Series[float]") -> str:
    """The rate with its interval, or on which side of the grid it lies; the band over the draws."""
    if "draws" not in row or math.isnan(row["draws"]):
        return _nominal_rate(row)
    low, high = row["low_rps"], row["high_rps"]
    end = "or more" if math.isnan(high) else f"to {high:.3g}"
    return f"{_nominal_rate(row)} ({low:.3g} {end})"


def _nominal_rate(row: "pd.Series[float]") -> str:
    if math.isnan(row["at_least_rps"]):
        return f"below {row['below_rps']:g}"
    if math.isnan(row["below_rps"]):
        return f"at least {row['at_least_rps']:g}"
    if row["seeds"] == 1:
        return f"{row['rate_rps']:.3g}"
    half = row["half_width_rps"]
    return f"{row['rate_rps']:.3g} ± {'?' if math.isnan(half) else f'{half:.2g}'}"


def _cell(group: "pd.DataFrame", name: str) -> str:
    if name == "saturation":
        return ", ".join(dict.fromkeys(group[name]))
    return _value(float(group[name].astype(float).mean()), name)


def _value(value: float, name: str) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if METRICS[name].unit == "share" else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(results: "ResultSet") -> list[str]:
    """What a reader must know before trusting the numbers."""
    by_system: dict[str, list[PointResult]] = {}
    for point in results.points:
        if not point.error:
            by_system.setdefault(str(point.labels["system"]), []).append(point)
    mirrors = [f"{name} mirrors {points[0].facts['mirrors']}" for name, points in by_system.items()]
    return mirrors + [
        f"warning: {name}: {warning}"
        for name, points in by_system.items()
        for warning in _warnings(points)
    ]


def _warnings(points: "Sequence[PointResult]") -> Iterator[str]:
    """About the points of one system."""
    total = {key: sum(_whole(point, key) for point in points) for key in ("arrived", *FATES)}
    if not total["arrived"]:
        yield "no request arrived after warmup_s"
    for key, why in FATES.items():
        if total[key]:
            yield f"{total[key]:,.0f} of {total['arrived']:,.0f} requests {key}: {why}"
    outside = max(_whole(point, "extrapolated_share") for point in points)
    if outside > 0:
        yield (
            f"up to {100 * outside:.1f} % of the iterations of a point lie outside the range that"
            " the latency model was fitted on"
        )


def _whole(point: "PointResult", key: str) -> float:
    """A number of the whole point, 0 where it is undefined."""
    return float(point.summary["all"][key] or 0)


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of like keys as a table."""
    columns = list(rows[0]) if rows else []
    headings = list(short_names(columns).values())
    print_table(headings, ([_text(row[name]) for name in columns] for row in rows))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table: numbers to the right, text to the left, no colours in a pipe."""
    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, heading in enumerate(headings):
        numeric = all(
            row[n].replace(",", "").lstrip("-")[:1].isdigit() or row[n] == "-" for row in rows
        )
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)
