"""``trace convert``: a trace of any known format as a canonical one."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.output import say
from bros_sim.core.atomic import keep_source
from bros_sim.report.traces import trace_written
from bros_sim.workload.convert import write_trace
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.traces import read_trace, within

InFile = Annotated[Path, typer.Argument(metavar="IN", help="A trace of any known format.")]
OutFile = Annotated[
    Path, typer.Argument(metavar="OUT", help="File to write: .csv, .csv.gz or .parquet.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="TOKENS")]


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
    keep_source(source, out)
    policy = Policy(
        start_s=start,
        end_s=float("inf") if end is None else end,
        dequantise="uniform" if dequantise else "none",
        zero_tokens="drop" if drop_zero else "one",
        seed=seed,
    )
    trace = read_trace(source, policy)
    if trace.has_lengths:
        trace = within(
            trace,
            least=least,
            most_prompt=most_prompt,
            most_output=most_output,
            most_total=most_total,
        )
    write_trace(trace, out)
    say(trace_written(trace, out))
