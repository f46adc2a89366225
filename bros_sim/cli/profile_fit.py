"""``profile fit``: measured steps -> a profile, its error on held-out steps, and a figure."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from bros_sim.profiles.profile import FitError, Profile

GpuOption = Annotated[
    str, typer.Option("--gpu", help="Id of a known GPU, or a YAML file with its data sheet.")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="Path of a config.json, or a model of a shipped profile.")
]
TpOption = Annotated[int, typer.Option("--tp", min=1, help="GPUs of the replica.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE.yaml", help="Profile to write.")]


class Form(StrEnum):
    """Forms of a latency model that can be fitted."""

    HYBRID = "hybrid"
    LINEAR = "linear"
    ROOFLINE = "roofline"


def fit(
    steps: Annotated[Path, typer.Argument(metavar="STEPS.csv", help="Measured steps.")],
    gpu: GpuOption,
    model: ModelOption,
    out: OutOption,
    tp: TpOption = 1,
    form: Annotated[Form, typer.Option("--form", help="Form of the latency model.")] = Form.HYBRID,
    source: Annotated[
        str | None, typer.Option(help="What was measured, for the label; the file by default.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the error of every row.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Fit a latency model to measured steps and write it as a profile.

    A quarter of the rows is held out; the error printed and written is that on these rows.

    Example: `bros-sim profile fit steps.csv --gpu h100-80gb --model llama-3-8b --out mine.yaml`
    """
    from bros_sim.calibration.fit import fit_steps, fitted_profile
    from bros_sim.calibration.gpus import find_gpu
    from bros_sim.calibration.models import find_model
    from bros_sim.calibration.profiles import Target, write_profile
    from bros_sim.calibration.step_rows import read_steps
    from bros_sim.core.errors import InputError

    if plot is not None and plot.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise InputError(f"--plot {plot}: the name must end in .png, .svg or .pdf")
    target = Target(find_gpu(gpu), find_model(model), tp)
    fitted = fit_steps(read_steps(steps), form.value)
    profile = fitted_profile(fitted, target, steps, source or steps.name)
    write_profile(out, profile)
    if plot is not None:
        from bros_sim.cli.profile_residuals import draw

        draw(fitted, f"{profile.id}: {profile.label}", plot)
        sys.stderr.write(f"{plot} written\n")
    tell(profile, out, output)


def tell(profile: "Profile", out: Path, output: Format) -> None:
    """What was written: label, KV size, and the error by kind of iteration."""
    error = profile.errors[profile.default_model]
    if output is Format.JSON:
        from bros_sim.config.components import plain

        shown = {"id": profile.id, "label": profile.label, "file": str(out), "errors": plain(error)}
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    else:
        blocks = f"{profile.kv.num_gpu_blocks:,} KV blocks"
        sys.stdout.write(f"{profile.id}: {profile.label}, {profile.default_model}, {blocks}\n")
        _print_errors(error)
        band = profile.uncertainty[profile.default_model].scale_pct
        if band:
            sys.stdout.write(f"stated relative error of all iterations together: {band:g} %\n")
    sys.stderr.write(f"{out} written\n")


def _print_errors(error: "FitError") -> None:
    """A row for each kind of iteration; nothing but the words where no figure is known."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    sys.stdout.write(f"error against {error.against}\n")
    if error.mape_pct is None or error.p95_pct is None or error.bias_pct is None:
        return
    table = Table("iterations", box=box.SIMPLE_HEAD)
    for header in ("MAPE %", "p95 %", "bias %"):
        table.add_column(header, justify="right")
    table.add_row("all", *_texts(error.mape_pct, error.p95_pct, error.bias_pct))
    for kind, part in error.by_kind.items():
        table.add_row(kind, *_texts(part.mape_pct, part.p95_pct, part.bias_pct))
    Console(file=sys.stdout, highlight=False, width=100).print(table)


def _texts(*figures: float) -> list[str]:
    return [f"{figure:.2f}" for figure in figures]
