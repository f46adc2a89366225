"""Results of a sweep to click through: `marimo run notebooks/explore.py -- --results FOLDER`."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="bros-sim: results")

with app.setup:
    from pathlib import Path

    import marimo as mo
    import numpy as np
    import pandas as pd
    from matplotlib import style
    from matplotlib.figure import Figure

    import bros_sim as bs

    LATENCIES = ("ttft_s", "tpot_s", "max_itl_s", "e2e_s")
    MARKERS = "os^DvPX*"
    style.use("tableau-colorblind10")


@app.function
def axes_of(table: pd.DataFrame) -> list[str]:
    """The swept paths of a results table: its labels stand before the class."""
    labels = table.columns[: table.columns.get_loc("class")]
    return [name for name in labels if name not in {"system", "seed"}]


@app.function
def shown(means: pd.DataFrame, metric: str, of: str) -> pd.DataFrame:
    """A row for each system and point of the sweep: the mean over seeds, its interval, the load."""
    mine = means[(means["metric"] == metric) & (means["class"] == of)]
    return mine.drop(columns=["class", "metric", "of", "half_width"])


@app.function
def chart(rows: pd.DataFrame, x: str, metric: str, of: str) -> Figure:
    """A line with intervals for each system; marks alone where x is no number.

    Open marks: a run there is no steady state, or too short to tell.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    panel = figure.subplots()
    for n, (system, mine) in enumerate(rows.groupby("system", sort=False)):
        line = "-" if x != "system" and pd.api.types.is_number(mine[x].iloc[0]) else ""
        at = mine[x] if line else mine[x].astype(str)
        half, marker = (mine["high"] - mine["mean"]).fillna(0), MARKERS[n % len(MARKERS)]
        look = {"marker": marker, "color": f"C{n}"}
        panel.errorbar(
            at, mine["mean"], yerr=half, label=str(system), linestyle=line, capsize=3, **look
        )
        unsteady, hollow = mine["load"] != "stable", {"markerfacecolor": "white", "zorder": 3}
        panel.plot(at[unsteady], mine["mean"][unsteady], linestyle="", **look, **hollow)
    unit = rows["unit"].iloc[0] if len(rows) else ""
    panel.set(xlabel=x, ylabel=f"{metric} [{of}] ({unit})")
    if unit == "share":
        panel.set_ylim(-0.02, 1.02)
    panel.grid(alpha=0.3)
    if len(rows):
        panel.legend()
    return figure


@app.function
def latencies(results: bs.Results, row: dict, latency: str, of: str) -> tuple[np.ndarray, int]:
    """Sorted latencies at a point of the sweep, all seeds pooled, and how many requests arrived.

    As in the metrics, what arrived in the warm-up does not count. Requests that never got that far
    have no latency.
    """
    found, arrived = [np.empty(0)], 0
    table = results.table()
    keys = ["system", *axes_of(table)]
    labels = table.drop_duplicates([*keys, "seed"])[keys].to_dict("records")
    for point, label in zip(results.points, labels, strict=True):
        if point.error or any(str(label[name]) != str(row[name]) for name in keys):
            continue
        requests = point.requests()
        mine = requests if of == "all" else requests[requests["class"] == of]
        mine = mine[mine["arrival_s"] >= (point.summary["all"].get("warmup_s") or 0)]
        found.append(mine[latency].dropna().to_numpy(float))
        arrived += len(mine)
    return np.sort(np.concatenate(found)), arrived


@app.cell
def _():
    start = Path(mo.cli_args().get("results") or "results/quickstart")
    beside = sorted(path.parent for path in start.parent.glob("*/provenance.json"))
    mo.stop(
        start not in beside,
        mo.md(f"No results in `{start}`: run an experiment first, or say `-- --results FOLDER`."),
    )
    folder = mo.ui.dropdown({path.name: path for path in beside}, start.name, label="results")
    return (folder,)


@app.cell
def _(folder):
    results = bs.read_results(folder.value)
    table, means = results.table(), bs.means(results)
    axes = [name for name in axes_of(table) if table[name].astype(str).nunique() > 1]
    _metrics = [*dict.fromkeys(means["metric"])]
    mo.stop(not _metrics, mo.md(f"Every point of `{folder.value}` failed."))
    _classes = [name for name in ("rt", "be", "all") if name in set(table["class"])]
    _systems = [str(name) for name in table["system"].unique()]
    _first = "slo_attainment" if "slo_attainment" in _metrics else _metrics[0]
    metric = mo.ui.dropdown(_metrics, _first, label="metric", searchable=True)
    of = mo.ui.dropdown(_classes, _classes[0], label="class")
    x = mo.ui.dropdown([*axes, "system"], [*axes, "system"][0], label="x axis")
    chosen = mo.ui.multiselect(_systems, _systems, label="systems")
    latency = mo.ui.dropdown(LATENCIES, LATENCIES[0], label="latency")
    return axes, chosen, latency, means, metric, of, results, table, x


@app.cell
def _(axes, table, x):
    fixed = mo.ui.dictionary(
        {
            name: mo.ui.dropdown(values, values[0], label=name)
            for name in axes
            if name != x.value and (values := [*dict.fromkeys(table[name].astype(str))])
        }
    )
    return (fixed,)


@app.cell
def _(chosen, fixed, folder, metric, of, x):
    mo.vstack(
        [
            mo.md("# Results of a sweep"),
            mo.hstack([folder, metric, of, x, chosen], justify="start", wrap=True),
            mo.hstack([*fixed.elements.values()], justify="start", wrap=True),
        ]
    )
    return


@app.cell
def _(chosen, fixed, means, metric, of, x):
    rows = shown(means, metric.value, of.value)
    rows = rows[rows["system"].astype(str).isin(chosen.value)]
    for _name, _value in fixed.value.items():
        rows = rows[rows[_name].astype(str) == _value]
    mo.vstack(
        [
            chart(rows, x.value, metric.value, of.value),
            mo.md(
                "Means over the seeds (of a percentile: of each seed's own); bars: 95 % t interval;"
                " open: a run is no steady state, or too short to tell. Tick rows to see their"
                " requests."
            ),
        ]
    )
    return (rows,)


@app.cell
def _(rows):
    points = mo.ui.table(
        rows.reset_index(drop=True),
        selection="multi",
        initial_selection=[0] if len(rows) else [],
        page_size=12,
        format_mapping=dict.fromkeys(("mean", "low", "high"), "{:.4g}"),
        show_column_summaries=False,
        show_data_types=False,
    )
    points
    return (points,)


@app.cell
def _(latency, of, points, results):
    figure = Figure(figsize=(8, 4), layout="constrained")
    _panel = figure.subplots()
    for _row in points.value.to_dict("records"):
        _found, _arrived = latencies(results, _row, latency.value, of.value)
        _label = ", ".join(str(_row[name]) for name in ("system", *axes_of(results.table())))
        if len(_found):
            _panel.ecdf(_found, label=f"{_label}: {len(_found):,} of {_arrived:,} requests")
    _panel.set(xlabel=f"{latency.value} [{of.value}]", ylabel="share of requests", ylim=(0, 1))
    _panel.grid(alpha=0.3)
    if _panel.lines:
        _panel.legend()
    mo.vstack([latency, figure])
    return (figure,)


if __name__ == "__main__":
    app.run()
