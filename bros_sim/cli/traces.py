"""``trace``: the shipped twins, what traces hold, traces of other formats, synthetic traces."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from bros_sim.cli import options
from bros_sim.cli.printing import show
from bros_sim.cli.verbs import say
from bros_sim.core.atomic import keep_source
from bros_sim.experiment.synthesis import make_twin, sample_twin, synthetic
from bros_sim.report.traces import draw_trace, find_twin, shipped_twins, statistics, trace_written
from bros_sim.workload.convert import synthesise, write_trace
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.traces import Trace, read_trace, within

DequantiseOption = Annotated[
    bool, Option("--dequantise", help="Spread coarse time stamps over their tick.")
]
SeedOption = Annotated[int, Option(min=0, help="Seed of every random draw.")]
LimitOption = Annotated[int | None, Option(min=1, metavar="TOKENS")]


def list_traces(form: options.Form = options.Format.TABLE) -> None:
    """List the shipped twins: what they describe, its licence and its statistics.

    Example: `bros-sim trace list`
    """
    show(shipped_twins(), form)


def stats(
    name: Annotated[
        str, Argument(metavar="TRACE", help="A trace or twin file, or the name of a twin.")
    ],
    dequantise: DequantiseOption = False,
    plot: Annotated[
        Path | None, Option(metavar="FILE.png", help="Draw lengths and arrivals.")
    ] = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Print counts, lengths, rate, burstiness and prefix reuse of a trace, or a twin's record.

    The rows section says what reading did: rows kept, sorted, tied, clipped, raised from zero.
    Fano is the variance over the mean of the counts in windows of so many seconds (Poisson: 1).

    Example: `bros-sim trace stats azure-conv`
    """
    options.check_picture(plot)
    twin = find_twin(name)
    source = twin or read_trace(Path(name), Policy(dequantise="uniform" if dequantise else "none"))
    show(statistics(name, source), form)
    if plot is not None:
        draw_trace(source if isinstance(source, Trace) else sample_twin(name), plot)
        say(f"{plot} written")


def convert(
    source: Annotated[Path, Argument(metavar="IN", help="A trace of any known format.")],
    out: Annotated[Path, Argument(metavar="OUT", help="File to write: .csv, .csv.gz or .parquet.")],
    dequantise: DequantiseOption = False,
    drop_zero: Annotated[
        bool, Option("--drop-zero", help="Drop rows of zero tokens; else raised to one.")
    ] = False,
    start: Annotated[float, Option(min=0, metavar="S", help="Begin at this time.")] = 0.0,
    end: Annotated[float | None, Option(min=0, metavar="S", help="Stop there.")] = None,
    least: Annotated[int, Option(min=1, help="Drop rows with a shorter length.")] = 1,
    most_prompt: LimitOption = None,
    most_output: LimitOption = None,
    most_total: LimitOption = None,
    seed: SeedOption = 0,
) -> None:
    """Rewrite a trace of any known format as canonical CSV or Parquet.

    `--most-...` and `--least` drop rows by their lengths. What was changed or dropped is printed.

    Example: `bros-sim trace convert AzureLLMInferenceTrace_conv.csv conv.parquet`
    """
    keep_source(source, out)
    policy = Policy(
        start_s=start, end_s=float("inf") if end is None else end, seed=seed,
        dequantise="uniform" if dequantise else "none", zero_tokens="drop" if drop_zero else "one",
    )  # fmt: skip
    trace = read_trace(source, policy)
    if trace.has_lengths:
        trace = within(
            trace, least=least, most_prompt=most_prompt, most_output=most_output,
            most_total=most_total,
        )  # fmt: skip
    write_trace(trace, out)
    say(trace_written(trace, out))


def synth(
    out: Annotated[Path, Argument(metavar="OUT", help="File to write.")],
    twin: Annotated[
        str | None, Option(metavar="NAME|FILE", help="Twin to draw requests from.")
    ] = None,
    arrivals: Annotated[
        str | None, Option(metavar="YAML", help="Arrivals, as in an experiment.")
    ] = None,
    lengths: Annotated[
        str | None, Option(metavar="YAML", help="Lengths, as in an experiment.")
    ] = None,
    duration: Annotated[float, Option(min=0.001, max=2**22, metavar="S", help="Seconds.")] = 600.0,
    rate: Annotated[
        float | None, Option(min=0, metavar="RPS", help="Mean rate; else the twin's.")
    ] = None,
    seed: SeedOption = 0,
    twin_of: Annotated[
        Path | None, Option(metavar="TRACE", help="Make a twin of this trace instead.")
    ] = None,
    name: Annotated[str | None, Option(help="With --twin-of: the twin's name.")] = None,
    describes: Annotated[
        str, Option(help="With --twin-of: what the trace is and where it comes from.")
    ] = "not stated",
    licence: Annotated[
        str, Option(help="With --twin-of: the licence of the trace.")
    ] = "not stated",
    note: Annotated[str, Option(help="With --twin-of: what users must know.")] = "",
) -> None:
    """Make a synthetic trace from a twin or a generator, or make a twin of a trace.

    From a twin: `bros-sim trace synth conv.csv --twin azure-conv --duration 600 --rate 4`.
    A twin without arrivals (ShareGPT, ...) gets Poisson arrivals of the given rate.

    From generators: `--arrivals '{kind: gamma, rate_rps: 4, cv: 2}'` and
    `--lengths '{kind: fixed, prompt: 512, output: 128}'`; either may go with `--twin`.

    A twin of a trace of your own holds statistics only, no row, and can be shared where the
    trace cannot: `bros-sim trace synth my.json --twin-of my.csv --licence internal`. It is used
    as `{kind: twin, path: my.json}` or `{kind: empirical, path: my.json}`.
    """
    if twin_of is not None:
        made = make_twin(twin_of, out, name=name, describes=describes, licence=licence, note=note)
        say(f"{out} written: twin of {made} rows")
        return
    trace = synthesise(synthetic(twin, arrivals, lengths, rate), seed, duration)
    write_trace(trace, out)
    say(trace_written(trace, out))
