"""``trace``: what traces hold, and how to make canonical ones, synthetic ones and twins."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from bros_sim.workload.traces import Trace

app = typer.Typer(no_args_is_help=True, help="Read, convert, describe and make traces.")

TraceName = Annotated[
    str, typer.Argument(metavar="TRACE", help="A trace or twin file, or the name of a twin.")
]
InFile = Annotated[Path, typer.Argument(metavar="IN", help="A trace of any known format.")]
OutFile = Annotated[
    Path, typer.Argument(metavar="OUT", help="File to write: .csv, .csv.gz or .parquet.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="TOKENS")]


@app.command("list")
def list_traces(form: FormatOption = Format.TABLE) -> None:
    """List the shipped twins: what they describe, its licence and its statistics.

    Example: `bros-sim trace list`
    """
    from bros_sim.workload.twin_file import load_twin
    from bros_sim.workload.twins import twin_paths

    twins = [load_twin(path) for path in twin_paths().values()]
    if form is Format.JSON:
        keys = ("name", "describes", "licence", "note", "measured")
        _print_json([{key: getattr(twin, key) for key in keys} for twin in twins])
        return
    from bros_sim.report.terminal import print_table

    headings = ["twin", "rows", "rps", "prompt mean", "p99", "output mean", "p99 ", "licence"]
    print_table(headings, [_twin_row(twin.name, twin.measured, twin.licence) for twin in twins])


def _twin_row(name: str, measured: Mapping[str, Mapping[str, Any]], licence: str) -> list[str]:
    rate = measured.get("arrivals", {}).get("rate_rps")
    prompt, output = measured["prompt_tokens"], measured["output_tokens"]
    numbers = (measured["rows"]["rows_kept"], rate)
    sizes = (prompt["mean"], prompt["p99"], output["mean"], output["p99"])
    return [name, *map(_number, numbers), *map(_number, sizes), licence]


@app.command("stats")
def stats(
    name: TraceName,
    dequantise: Annotated[
        bool, typer.Option("--dequantise", help="Spread coarse time stamps over their tick.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw lengths and arrivals.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print counts, lengths, rate, burstiness and prefix reuse of a trace, or a twin's record.

    The rows section says what reading did: rows kept, sorted, tied, clipped, raised from zero.
    Fano is the variance over the mean of the counts in windows of so many seconds (Poisson: 1).

    Example: `bros-sim trace stats azure-conv`
    """
    from bros_sim.workload.statistics import trace_summary

    if plot is not None:
        _check_picture(plot)
    twin = _twin(name)
    trace = None if twin else _read(Path(name), dequantise)
    summary = twin.measured if twin else trace_summary(_known(trace))
    head = {"trace": name, "format": "twin" if twin else _known(trace).format}
    if twin:
        head |= {key: getattr(twin, key) for key in ("describes", "licence", "note")}
    if form is Format.JSON:
        _print_json({**head, **summary})
    else:
        _print_summary(head, summary)
    if plot is not None:
        from bros_sim.cli.trace_figure import draw

        draw(_known(trace) if twin is None else _sample(name), plot)
        sys.stderr.write(f"{plot} written\n")


@app.command("convert")
def convert(
    source: InFile,
    out: OutFile,
    dequantise: Annotated[
        bool, typer.Option("--dequantise", help="Spread coarse time stamps over their tick.")
    ] = False,
    drop_zero: Annotated[
        bool, typer.Option("--drop-zero", help="Drop rows of zero tokens; else raised to one.")
    ] = False,
    start: Annotated[float, typer.Option(min=0, metavar="S", help="Begin at this time.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, metavar="S", help="Stop there.")] = None,
    least: Annotated[int, typer.Option(min=1, help="Drop rows with a shorter length.")] = 1,
    most_prompt: Limit = None,
    most_output: Limit = None,
    most_total: Limit = None,
    seed: Seed = 0,
) -> None:
    """Rewrite a trace of any known format as canonical CSV or Parquet.

    `--most-...` and `--least` drop rows by their lengths. What was changed or dropped is printed.

    Example: `bros-sim trace convert AzureLLMInferenceTrace_conv.csv conv.parquet`
    """
    from bros_sim.core.atomic import keep_source
    from bros_sim.workload.convert import write_trace
    from bros_sim.workload.traces import read_trace, within

    keep_source(source, out)
    trace = read_trace(
        source,
        start_s=start,
        end_s=float("inf") if end is None else end,
        dequantise="uniform" if dequantise else "none",
        zero_tokens="drop" if drop_zero else "one",
        seed=seed,
    )
    if trace.has_lengths:
        trace = within(
            trace,
            least=least,
            most_prompt=most_prompt,
            most_output=most_output,
            most_total=most_total,
        )
    write_trace(trace, out)
    _report(trace, out)


@app.command("synth")
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    twin: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Twin to draw requests from.")
    ] = None,
    arrivals: Annotated[
        str | None, typer.Option(metavar="YAML", help="Arrivals, as in an experiment.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(metavar="YAML", help="Lengths, as in an experiment.")
    ] = None,
    duration: Annotated[
        float, typer.Option(min=0.001, max=2**22, metavar="S", help="Seconds.")
    ] = 600.0,
    rate: Annotated[
        float | None, typer.Option(min=0, metavar="RPS", help="Mean rate; else the twin's.")
    ] = None,
    seed: Seed = 0,
    twin_of: Annotated[
        Path | None, typer.Option(metavar="TRACE", help="Make a twin of this trace instead.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --twin-of: the twin's name.")] = None,
    describes: Annotated[
        str, typer.Option(help="With --twin-of: what the trace is and where it comes from.")
    ] = "not stated",
    licence: Annotated[
        str, typer.Option(help="With --twin-of: the licence of the trace.")
    ] = "not stated",
    note: Annotated[str, typer.Option(help="With --twin-of: what users must know.")] = "",
) -> None:
    """Make a synthetic trace from a twin or a generator, or make a twin of a trace.

    From a twin: `bros-sim trace synth conv.csv --twin azure-conv --duration 600 --rate 4`.
    A twin of lengths alone (ShareGPT, ...) gets Poisson arrivals of the given rate.

    From generators: `--arrivals '{kind: gamma, rate_rps: 4, cv: 2}'` and
    `--lengths '{kind: fixed, prompt: 512, output: 128}'`; either may go with `--twin`.

    A twin of a trace of your own holds statistics alone, no row, and can be shared where the
    trace cannot: `bros-sim trace synth my.json --twin-of my.csv --licence internal`. It is used
    as `{kind: twin, path: my.json}` or `{kind: empirical, path: my.json}`.
    """
    from bros_sim.cli.trace_synth import make_trace, make_twin

    if twin_of is not None:
        made = make_twin(twin_of, out, name=name, describes=describes, licence=licence, note=note)
        sys.stderr.write(f"{out} written: twin of {made} rows\n")
        return
    trace = make_trace(twin, arrivals, lengths, rate, seed, duration, out)
    _report(trace, out)


def _report(trace: "Trace", out: Path) -> None:
    from dataclasses import asdict

    done = [f"{key} {value:,}" for key, value in asdict(trace.counts).items() if value]
    sys.stderr.write(f"{out} written ({trace.format}): {', '.join(done)}\n")


def _twin(name: str) -> Any:  # noqa: ANN401 - a Twin, imported late
    from bros_sim.core.errors import InputError
    from bros_sim.workload.twin_file import is_twin, load_twin
    from bros_sim.workload.twins import twin_paths, why_no_twin

    if name in twin_paths():
        return load_twin(twin_paths()[name])
    path = Path(name)
    if not path.exists() and not path.suffix:
        raise InputError(f"{name}: no such file, and {why_no_twin(name)}")
    return load_twin(path) if is_twin(path) else None


def _read(path: Path, dequantise: bool) -> "Trace":
    from bros_sim.workload.traces import read_trace

    return read_trace(path, dequantise="uniform" if dequantise else "none")


def _known(trace: "Trace | None") -> "Trace":
    assert trace is not None
    return trace


def _sample(name: str) -> "Trace":
    """A trace that a twin makes, as long as the one it describes: for a figure of the twin."""
    from bros_sim.cli.trace_synth import sample_twin

    return sample_twin(name)


def _check_picture(path: Path) -> None:
    from bros_sim.core.errors import InputError

    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise InputError(f"--plot {path}: the name must end in .png, .svg or .pdf")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def _print_summary(head: Mapping[str, str], summary: Mapping[str, Mapping[str, Any]]) -> None:
    for key, text in head.items():
        sys.stdout.write(f"{key}: {text}\n")
    for section, numbers in summary.items():
        shown = {k: v for k, v in numbers.items() if section != "rows" or v or "rows" in k}
        sys.stdout.write(f"\n{section}\n")
        for key, value in shown.items():
            sys.stdout.write(f"  {key:<28}{_number(value):>14}\n")
