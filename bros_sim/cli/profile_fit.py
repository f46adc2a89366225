"""``profile fit``: measured steps -> a profile, its error on held-out steps, and a figure."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bros_sim.calibration.fit import fit_steps, fitted_profile
from bros_sim.calibration.gpus import find_gpu
from bros_sim.calibration.models import find_model
from bros_sim.calibration.profiles import Target, write_profile
from bros_sim.calibration.step_rows import read_steps
from bros_sim.cli.options import (
    Format,
    FormatOption,
    GpuOption,
    ModelOption,
    ProfileOutOption,
    TpOption,
    check_picture,
)
from bros_sim.cli.output import say
from bros_sim.cli.printing import show
from bros_sim.report.fit_figure import draw
from bros_sim.report.profiles import NewProfile


class Form(StrEnum):
    """Forms of a latency model that can be fitted."""

    HYBRID = "hybrid"
    LINEAR = "linear"
    ROOFLINE = "roofline"


def fit(
    steps: Annotated[Path, typer.Argument(metavar="STEPS.csv", help="Measured steps.")],
    gpu: GpuOption,
    model: ModelOption,
    out: ProfileOutOption,
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
    check_picture(plot)
    target = Target(find_gpu(gpu), find_model(model), tp)
    fitted = fit_steps(read_steps(steps), form.value)
    profile = fitted_profile(fitted, target, steps, source or steps.name)
    write_profile(out, profile)
    if plot is not None:
        draw(fitted, f"{profile.id}: {profile.label}", plot)
        say(f"{plot} written")
    show(NewProfile(profile, out), output)
    say(f"{out} written")
