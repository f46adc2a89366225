"""``profile measure``: time iterations and copies on the GPU at hand, with PyTorch only."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bros_sim.calibration.files import require_csv, write_csv
from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.plan import read_shapes
from bros_sim.calibration.step_rows import write_steps
from bros_sim.cli.options import ConfigOption
from bros_sim.cli.output import say, write
from bros_sim.core.errors import InputError
from bros_sim.core.extras import need


class Where(StrEnum):
    """Devices to measure."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


def measure(
    model: ConfigOption,
    shapes: Annotated[
        Path, typer.Option(metavar="SHAPES.json", help="Batches to time, of `profile plan`.")
    ],
    out: Annotated[Path, typer.Option(metavar="STEPS.csv", help="Table of iterations to write.")],
    tp: Annotated[int, typer.Option(min=1, help="GPUs of the replica: one rank is timed.")] = 1,
    copies: Annotated[
        Path | None,
        typer.Option(metavar="COPIES.csv", help="Time copies to and from the CPU as well."),
    ] = None,
    device: Annotated[Where, typer.Option(help="auto: the GPU if there is one.")] = Where.AUTO,
    repeats: Annotated[int, typer.Option(min=1, help="Timings of each batch and copy.")] = 20,
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
    write(
        "host:\n"
        f"  to_gpu_gb_s: {up.gb_s:.4g}\n"
        f"  to_cpu_gb_s: {down.gb_s:.4g}\n"
        f"  latency_s: {max(up.latency_s, down.latency_s):.3g}"
    )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{total} batches" + ("\n" if done == total else ""))
        sys.stderr.flush()
