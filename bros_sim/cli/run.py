"""``run``: from an experiment file to tables, result files and figures."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from bros_sim.cli import options
from bros_sim.cli.experiments import Terminal, load_experiment
from bros_sim.cli.printing import show, write_json
from bros_sim.cli.verbs import FAILED, say
from bros_sim.experiment import Loaded
from bros_sim.report.figure_files import draw_figures
from bros_sim.report.tables import show_parts
from bros_sim.report.text_tables import RunResults, rows_table
from bros_sim.study.store import Store
from bros_sim.study.study import Place
from bros_sim.study.sweep import collect, failures, sweep

DryRunOption = Annotated[bool, Option(
    "--dry-run",
    help="List the points and whether they are there (json: with every default); run none.",
)]  # fmt: skip


def run(
    experiment: options.Experiment,
    overrides: options.Overrides = None,
    workers: options.Workers = None,
    dask: options.Dask = None,
    out: options.Out = Path("results"),
    dry_run: DryRunOption = False,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Run points again that are already there.")
    ] = False,
    retry_failed: options.Retry = False,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Run every point of an experiment (systems x grid x seeds) and print what came out.

    Points that are already in the results folder are not run again, so the same command resumes
    an interrupted sweep; those that failed run again with `--retry-failed`. The figures that the
    experiment names are drawn at the end.

    Examples:
    `bros-sim run experiments/quickstart.yaml`

    `bros-sim run exp.yaml --set seed=3 --set cluster.replicas=4 --workers 8`
    """
    loaded, figures = load_experiment(experiment, overrides)
    if dry_run:
        _list_points(loaded, out, form)
        return
    watch = Terminal(f"bros-sim run {experiment}")
    place = Place(out, workers, dask, retry_failed, overwrite, watch)
    study = place.study(loaded.spec.name, decisions=loaded.spec.outputs.decisions)
    swept = study.answer(sweep(loaded, watch))
    for interval in swept.too_wide():
        say(f"warning: {interval.words}")
    results, capacity = collect(loaded, swept, study.store)
    for line in [*draw_figures(figures, results).warnings, *failures(loaded, swept, study)]:
        say(line)
    show(RunResults(results, capacity.rates, capacity.orders), form)
    if form is options.Format.TABLE:
        say(f"results: {results.folder}")
    if study.errors:
        raise Exit(FAILED)


def _list_points(loaded: Loaded, out: Path, form: options.Format) -> None:
    store = Store(out / loaded.spec.name, decisions=loaded.spec.outputs.decisions)
    points, rows = [*loaded.points, *loaded.drawn], []
    nominal = {"draw": 0} if loaded.drawn else {}
    for point in points:
        labels = {**point.labels, **nominal, **point.labels}
        rows.append({**labels, "key": point.key, "state": store.state(point.key)})
        if loaded.baselines:
            known = point.baseline
            rows[-1]["be_alone"] = store.state(known.key) if known else "no BE"
    if form is options.Format.JSON:
        full = [{**row, "resolved": one.plain} for row, one in zip(rows, points, strict=True)]
        write_json({"folder": str(store.folder), "points": full})
    else:
        shortened = rows_table([{**row, "key": str(row["key"])[:12]} for row in rows])
        show_parts([shortened], sys.stdout)
