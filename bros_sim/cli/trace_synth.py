"""``trace synth``: synthetic traces, and twins of traces."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.output import say
from bros_sim.experiment.synthesis import make_twin, synthetic
from bros_sim.report.traces import trace_written
from bros_sim.workload.convert import synthesise, write_trace


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
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
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
