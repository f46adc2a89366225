"""``profile import``: result files of other programs -> one canonical table."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.calibration.importers import Options, import_table
from bros_sim.calibration.models import read_model_config
from bros_sim.cli.output import say

Count = Annotated[int | None, typer.Option(min=1, metavar="N")]


def import_results(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Result files, all of one format.")
    ],
    out: Annotated[Path, typer.Option(metavar="OUT.csv", help="Table to write: .csv or .csv.gz.")],
    run: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of files with several runs of requests: which."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG.json", help="Layer tables: the model that they are of."),
    ] = None,
    tp: Annotated[int, typer.Option(min=1, help="Layer tables: GPUs of the replica.")] = 1,
    batch_size: Count = None,
    input_len: Count = None,
    output_len: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="Repeat it for every file.")
    ] = None,
    max_num_batched_tokens: Annotated[
        int, typer.Option(min=1, help="vllm bench latency: tokens of one iteration at most.")
    ] = 8192,
) -> None:
    """Read results of vLLM's benchmarks, GuideLLM, AIPerf, or layer tables into one CSV.

    Iterations (`vllm bench forward` and `latency`, layer tables) become the table of steps that
    `profile fit` takes. Requests (`vllm bench serve`, GuideLLM, AIPerf) become the table of one
    run that `validate` replays. What was left out is printed. The format is found by content.

    `--batch-size`, `--input-len` and `--output-len` are for files of `vllm bench latency`, which
    do not say them.

    Example: `bros-sim profile import forward.json --out steps.csv`
    """
    options = Options(
        model=None if model is None else read_model_config(model),
        tp=tp,
        batch_size=batch_size,
        input_len=input_len,
        output_lens=tuple(output_len or ()),
        max_num_batched_tokens=max_num_batched_tokens,
    )
    for line in import_table(files, out, options, run):
        say(line)
