"""``validate``: a real engine's run against its replay in the simulator."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from bros_sim.validation.compare import Comparison

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}


def validate(
    requests: Annotated[
        Path, typer.Argument(metavar="REQUESTS", help="CSV file of a real run's requests.")
    ],
    profile: Annotated[
        str, typer.Option(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
    ],
    engine_args: Annotated[
        Path, typer.Option(metavar="META", help="JSON file with the engine's arguments.")
    ],
    form: FormatOption = Format.TABLE,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write validation.png and .svg there.")
    ] = None,
) -> None:
    """Replay a real vLLM run and compare: TTFT, TPOT, E2E, throughput, single requests.

    TTFT and E2E start when the engine takes a request in (column `queued_s`; `arrival_s` where a
    run does not have it).

    Example: `bros-sim validate run.csv --profile rtx4090/llama-3.1-8b-tp1 --engine-args meta.json`
    """
    from bros_sim.profiles.profile import load_profile
    from bros_sim.validation.compare import compare
    from bros_sim.validation.real_run import read_arguments, read_requests
    from bros_sim.validation.replay import replay

    real, arguments, gpu = (
        read_requests(requests),
        read_arguments(engine_args),
        load_profile(profile),
    )
    for note in arguments.notes:
        sys.stderr.write(f"{note}\n")
    comparison = compare(real, replay(real, arguments, gpu))
    if out is not None:
        _write_figure(comparison, out, gpu.id)
    if form is Format.JSON:
        sys.stdout.write(f"{json.dumps(_as_json(comparison), indent=1)}\n")
    else:
        _print(comparison)


def _as_json(comparison: "Comparison") -> dict[str, object]:
    """The metrics, then what else was compared; a number that does not exist is null."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        "metrics": plain(dict(comparison.metrics)),
        "request_error_pct": plain(dict(comparison.request_error_pct)),
        "throughput": comparison.throughput.to_dict("list"),
        "makespan_s": {"real": comparison.real_s, "simulated": comparison.simulated_s},
        "num_preemptions": comparison.preemptions,
    }


def _print(comparison: "Comparison") -> None:
    from bros_sim.report.terminal import print_table

    rows = []
    for name, statistics in comparison.metrics.items():
        for statistic, found in statistics.items():
            numbers = (f"{found[key]:,.1f}" for key in ("real", "simulated"))
            rows.append([f"{NAMES[name]} {statistic}", *numbers, f"{found['error_pct']:+.1f}"])
    print_table(["", "real ms", "simulated ms", "error %"], rows)
    bins = [
        [f"{row.time_s:.0f}", f"{row.real:,.0f}", f"{row.simulated:,.0f}"]
        for row in comparison.throughput.itertuples()
    ]
    print_table(["from s", "real tokens/s", "simulated"], bins)
    errors = ", ".join(f"{NAMES[k]} {v:.1f} %" for k, v in comparison.request_error_pct.items())
    sys.stdout.write(f"single requests, mean absolute error: {errors}\n")
    sys.stdout.write(
        f"last token after {comparison.real_s:.1f} s real, {comparison.simulated_s:.1f} s"
        f" simulated; {comparison.preemptions} preemptions simulated\n"
    )


def _write_figure(comparison: "Comparison", folder: Path, title: str) -> None:
    from bros_sim.plots.style import render
    from bros_sim.validation.figure import draw

    figure = draw(comparison, title)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        (folder / f"validation.{kind}").write_bytes(render(figure, kind))
