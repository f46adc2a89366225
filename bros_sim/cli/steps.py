"""``profile plan``, ``measure``, ``import``: the measured iterations that fits take."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from bros_sim.calibration import plan as planning
from bros_sim.calibration.files import require_csv, write_csv
from bros_sim.calibration.gpus import find_gpu
from bros_sim.calibration.importers import Options, import_table
from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.plan import read_shapes, write_shapes
from bros_sim.calibration.profiles import BLOCK_SIZE
from bros_sim.calibration.step_rows import write_steps
from bros_sim.cli import options
from bros_sim.cli.verbs import say, write
from bros_sim.core.atomic import keep_source
from bros_sim.core.errors import InputError
from bros_sim.core.extras import need

ConfigOption = Annotated[
    Path, Option("--model", metavar="CONFIG.json", help="The model's config, as on Hugging Face.")
]
CountOption = Annotated[int | None, Option(min=1, metavar="N")]
Where = StrEnum("Where", ["AUTO", "CUDA", "CPU"])  # devices to measure


def plan(
    gpu: options.Gpu,
    model: ConfigOption,
    out: Annotated[Path, Option(metavar="SHAPES.json", help="File to write.")],
    tp: options.Tp = 1,
    max_num_batched_tokens: Annotated[
        int, Option(min=16, help="Tokens of one iteration at most, as the engine has it.")
    ] = 8192,
    max_num_seqs: Annotated[int, Option(min=2, help="Requests at once at most.")] = 256,
) -> None:
    """Write the batches that `vllm bench forward --shapes` or `profile measure` will time.

    Prefill, decode and mixed batches on a grid, as far as the KV cache and the engine's limits
    allow. The bounds are those of the engine to be simulated: give the same to both.

    Example: `bros-sim profile plan --gpu a100-80gb --model config.json --out shapes.json`
    """
    keep_source(model, out)
    config = read_model_config(model)
    config.require_tp(tp)
    card = find_gpu(gpu).gpu()
    room = planning.room_on(card, config, tp, max_num_batched_tokens, max_num_seqs)
    cases = planning.plan(room)
    write_shapes(cases, out)
    kinds = [bool(case.shape.chunks) + 2 * bool(case.shape.decode_jobs) for case in cases]
    minutes = planning.estimated_s(cases, card, config, tp) / 60
    write(
        f"{out} written: {len(cases)} batches ({kinds.count(1)} prefill, {kinds.count(2)} decode,"
        f" {kinds.count(3)} mixed), about {minutes:.0f} minutes with vllm bench forward (rough)\n"
        f"  {config.shape.name} on {tp} x {card.name}: room for {room.blocks:,} KV blocks of"
        f" {BLOCK_SIZE} tokens"
    )


def measure(
    model: ConfigOption,
    shapes: Annotated[
        Path, Option(metavar="SHAPES.json", help="Batches to time, of `profile plan`.")
    ],
    out: Annotated[Path, Option(metavar="STEPS.csv", help="Table of iterations to write.")],
    tp: Annotated[int, Option(min=1, help="GPUs of the replica: one rank is timed.")] = 1,
    copies: Annotated[
        Path | None, Option(metavar="COPIES.csv", help="Time copies to and from the CPU as well.")
    ] = None,
    device: Annotated[Where, Option(help="auto: the GPU if there is one.")] = Where.AUTO,
    repeats: Annotated[int, Option(min=1, help="Timings of each batch and copy.")] = 20,
) -> None:
    """Time batches of a model with random weights and a paged KV cache on this machine.

    Needs PyTorch: `pip install 'bros-sim[gpu]'`. On CUDA every batch is replayed as a graph and
    timed by device events; the median counts. PyTorch's kernels are not an engine's: prefer
    `vllm bench forward` where it runs. With `--tp` above 1, one rank is timed without all-reduce.

    Example: `bros-sim profile measure --model config.json --shapes shapes.json --out steps.csv`
    """
    for path in (out, *([copies] if copies else [])):
        require_csv(path)
    if copies == out:
        raise InputError(f"--copies {copies}: is the file of --out as well; they are two tables")
    config = read_model_config(model)
    config.require_tp(tp)
    config.require_plain("profile measure")
    cases = read_shapes(shapes)
    measuring = need("bros_sim.calibration.measure", "gpu", "profile measure needs PyTorch")
    chosen = measuring.Device.named(device.value)
    kept = measuring.fitting(cases, config, tp, chosen)
    rows = list(measuring.measure_steps(kept, config, tp, chosen, repeats, _progress))
    write_steps(rows, out)
    say(f"{out} written: {len(rows)} iterations of {config.shape.name} on {chosen.title}")
    if len(kept) < len(cases):
        say(f"  left out: {len(cases) - len(kept)} batches beyond memory or length")
    if tp > 1:
        say(f"  one rank of {tp}: the two all-reduces of each layer are NOT in it")
    if copies:
        _measure_copies(measuring, chosen, repeats, copies)


def _measure_copies(measuring: Any, device: object, repeats: int, out: Path) -> None:  # noqa: ANN401 - a module
    """Write the table, and print what belongs under `host` of a profile of one GPU."""
    rows = measuring.measure_copies(device, repeats)
    write_csv(measuring.CopyRow._fields, rows, out)
    say(f"{out} written: {len(rows)} copies")
    up, down = (measuring.link(rows, direction) for direction in ("to_gpu", "to_cpu"))
    speeds = f"  to_gpu_gb_s: {up.gb_s:.4g}\n  to_cpu_gb_s: {down.gb_s:.4g}\n"
    write(f"host:\n{speeds}  latency_s: {max(up.latency_s, down.latency_s):.3g}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{total} batches" + ("\n" if done == total else ""))
        sys.stderr.flush()


def import_results(
    files: Annotated[
        list[Path], Argument(metavar="FILE...", help="Result files, all of one format.")
    ],
    out: Annotated[Path, Option(metavar="OUT.csv", help="Table to write: .csv or .csv.gz.")],
    run: Annotated[
        int | None,
        Option(min=1, metavar="N", help="Of files with several runs of requests: which."),
    ] = None,
    model: Annotated[
        Path | None, Option(metavar="CONFIG.json", help="Layer tables: the model that they are of.")
    ] = None,
    tp: Annotated[int, Option(min=1, help="Layer tables: GPUs of the replica.")] = 1,
    batch_size: CountOption = None,
    input_len: CountOption = None,
    output_len: Annotated[
        list[int] | None, Option(min=1, metavar="N", help="Repeat it for every file.")
    ] = None,
    max_num_batched_tokens: Annotated[
        int, Option(min=1, help="vllm bench latency: tokens of one iteration at most.")
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
    given = Options(
        model=None if model is None else read_model_config(model), tp=tp, batch_size=batch_size,
        input_len=input_len, output_lens=tuple(output_len or ()),
        max_num_batched_tokens=max_num_batched_tokens,
    )  # fmt: skip
    for line in import_table(files, out, given, run):
        say(line)
