"""``profile measure``: time iterations and copies on the GPU at hand, with PyTorch alone."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bros_sim.calibration.measure import Device


class Where(StrEnum):
    """Devices to measure."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


def measure(
    model: Annotated[
        Path, typer.Option(metavar="CONFIG.json", help="The model's config, as on Hugging Face.")
    ],
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
    from bros_sim.calibration.csv_files import require_csv
    from bros_sim.calibration.model_config import read_model_config
    from bros_sim.calibration.shapes import read_shapes
    from bros_sim.calibration.step_rows import write_steps
    from bros_sim.core.errors import InputError

    for path in (out, *([copies] if copies else [])):
        require_csv(path)
    if copies == out:
        raise InputError(f"--copies {copies}: is the file of --out as well; they are two tables")
    dims = read_model_config(model)
    dims.require_tp(tp)
    cases = read_shapes(shapes)
    try:
        from bros_sim.calibration import measure as measuring
    except ImportError:
        raise InputError(
            "profile measure needs PyTorch: pip install 'bros-sim[gpu]' (nothing else does)"
        ) from None
    chosen = measuring.Device.named(device.value)
    kept = measuring.fitting(cases, dims, tp, chosen)
    rows = list(measuring.measure_steps(kept, dims, tp, chosen, repeats, _progress))
    write_steps(rows, out)
    sys.stderr.write(f"{out} written: {len(rows)} iterations of {dims.name} on {chosen.title}\n")
    if len(kept) < len(cases):
        sys.stderr.write(f"  left out: {len(cases) - len(kept)} batches beyond memory or length\n")
    if tp > 1:
        sys.stderr.write(f"  one rank of {tp}: the two all-reduces of each layer are NOT in it\n")
    if copies:
        _measure_copies(chosen, repeats, copies)


def _measure_copies(device: "Device", repeats: int, out: Path) -> None:
    """Write the table, and print what belongs under `host` of a profile of one GPU."""
    from bros_sim.calibration.csv_files import write_csv
    from bros_sim.calibration.measure import CopyRow, link, measure_copies

    rows = measure_copies(device, repeats)
    write_csv(CopyRow._fields, rows, out)
    sys.stderr.write(f"{out} written: {len(rows)} copies\n")
    up, down = link(rows, "to_gpu"), link(rows, "to_cpu")
    sys.stdout.write(
        "host:\n"
        f"  to_gpu_gb_s: {up.gb_s:.4g}\n"
        f"  to_cpu_gb_s: {down.gb_s:.4g}\n"
        f"  latency_s: {max(up.latency_s, down.latency_s):.3g}\n"
    )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{total} batches" + ("\n" if done == total else ""))
        sys.stderr.flush()
