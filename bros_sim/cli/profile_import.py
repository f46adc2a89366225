"""``profile import``: result files of other programs -> one canonical table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bros_sim.calibration.importers import Run, Runs, Steps

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
    run that `validate` replays. What was left out is printed. The format is told by content.

    `--batch-size`, `--input-len` and `--output-len` are for files of `vllm bench latency`, which
    do not say them.

    Example: `bros-sim profile import forward.json --out steps.csv`
    """
    from bros_sim.calibration.csv_files import require_csv
    from bros_sim.calibration.importers import Options, Runs, import_files
    from bros_sim.calibration.model_config import read_model_config
    from bros_sim.core.atomic import keep_source
    from bros_sim.core.errors import InputError

    require_csv(out)
    for path in files:
        keep_source(path, out)
    options = Options(
        model=None if model is None else read_model_config(model),
        tp=tp,
        batch_size=batch_size,
        input_len=input_len,
        output_lens=tuple(output_len or ()),
        max_num_batched_tokens=max_num_batched_tokens,
    )
    form, found = import_files(files, options)
    if run is not None and not isinstance(found, Runs):
        raise InputError(f"--run: the files hold iterations ({form.title}), no runs of requests")
    if isinstance(found, Runs):
        _write_requests(form.title, _chosen(found, run), out)
    else:
        _write_steps(form.title, found, out)


def _chosen(found: "Runs", number: int | None) -> "Run":
    from bros_sim.core.errors import InputError

    runs = found.runs
    if number is None and len(runs) == 1:
        return runs[0]
    if number is None or number > len(runs):
        listed = (f"  {n}: {run.label}, {len(run.rows)} completed" for n, run in enumerate(runs, 1))
        raise InputError(f"--run: say which one of {len(runs)} runs:", *listed)
    return runs[number - 1]


def _write_requests(title: str, run: "Run", out: Path) -> None:
    from bros_sim.calibration.request_rows import write_requests
    from bros_sim.core.errors import InputError

    if not run.rows:
        raise InputError(f"{out}: not written: no request of the run ({run.label}) completed")
    write_requests(run.rows, out)
    what = f"{len(run.rows)} requests completed, {run.failed} failed (no row)"
    _report(out, title, what, run.notes)


def _write_steps(title: str, steps: "Steps", out: Path) -> None:
    from bros_sim.calibration.step_rows import write_steps
    from bros_sim.core.errors import InputError

    if not steps.rows:
        raise InputError(f"{out}: not written: the files hold no usable iteration", *steps.notes)
    write_steps(steps.rows, out)
    prefill = sum(row.prefill_tokens > 0 and not row.decode_jobs for row in steps.rows)
    decode = sum(not row.prefill_tokens for row in steps.rows)
    mixed = len(steps.rows) - prefill - decode
    what = f"{len(steps.rows)} iterations ({prefill} prefill, {decode} decode, {mixed} mixed)"
    _report(out, title, what, steps.notes)


def _report(out: Path, title: str, what: str, notes: tuple[str, ...]) -> None:
    sys.stderr.write(f"{out} written from {title}: {what}\n")
    for note in notes:
        sys.stderr.write(f"  {note}\n")
