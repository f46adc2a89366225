"""``trace stats``: what a trace or a twin holds."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.options import Format, FormatOption, check_picture
from bros_sim.cli.output import say
from bros_sim.cli.printing import show
from bros_sim.experiment.synthesis import sample_twin
from bros_sim.report.trace_figure import draw
from bros_sim.report.traces import find_twin, statistics
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.traces import Trace, read_trace

TraceName = Annotated[
    str, typer.Argument(metavar="TRACE", help="A trace or twin file, or the name of a twin.")
]


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
    check_picture(plot)
    twin = find_twin(name)
    source = twin or read_trace(Path(name), Policy(dequantise="uniform" if dequantise else "none"))
    show(statistics(name, source), form)
    if plot is not None:
        draw(source if isinstance(source, Trace) else sample_twin(name), plot)
        say(f"{plot} written")
