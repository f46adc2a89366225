"""``profile``: the profiles there are, and new ones of measurements or data sheets."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from bros_sim.calibration import derive as derivation
from bros_sim.calibration.check import check_profile
from bros_sim.calibration.fit import fit_steps, fitted_profile
from bros_sim.calibration.gpus import find_gpu
from bros_sim.calibration.models import find_model
from bros_sim.calibration.profiles import Target, write_profile
from bros_sim.calibration.step_rows import read_steps
from bros_sim.cli import options, printing
from bros_sim.cli.verbs import FAILED, say
from bros_sim.profiles.profile import load_profile, profile_ids
from bros_sim.report import profiles as report

ModelOption = Annotated[
    str, Option("--model", help="Path of a config.json, or a model of a shipped profile.")
]
OutOption = Annotated[Path, Option("--out", metavar="FILE.yaml", help="Profile to write.")]


class Form(StrEnum):
    """Forms of a latency model that can be fitted."""

    HYBRID = "hybrid"
    LINEAR = "linear"
    ROOFLINE = "roofline"


def list_profiles(form: options.Form = options.Format.TABLE) -> None:
    """List the shipped profiles: label, KV blocks and fit error.

    Example: `bros-sim profile list`
    """
    printing.show(report.ProfileList([load_profile(name) for name in profile_ids()]), form)


def show(
    name: Annotated[
        str, Argument(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
    ],
    plot: Annotated[
        Path | None, Option(metavar="FILE.png", help="Draw the iteration times.")
    ] = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Print all facts of a profile; optionally draw what iterations cost.

    Example: `bros-sim profile show a100-80gb/llama-3-8b-tp1 --plot a100.png`
    """
    profile = load_profile(name)
    options.check_picture(plot)
    printing.show(report.ProfileFacts(profile), form)
    if plot is not None:
        report.draw_profile(profile, plot)
        say(f"{plot} written")


def check(
    profiles: Annotated[
        list[str] | None,
        Argument(metavar="[PROFILE]...", help="Ids or YAML files; all shipped by default."),
    ] = None,
    tables: options.Tables = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Check profiles: structure, units, physical sense, and their stated errors computed again.

    Exit code 1 if a check falls short.

    Example: `bros-sim profile check a100-80gb/llama-3-8b-tp1 --tables ../shared/data/profiles`
    """
    checks = report.Checks([check_profile(name, tables) for name in profiles or profile_ids()])
    printing.show(checks, form)
    if not checks.passed:
        raise Exit(FAILED)


def derive(
    gpu: options.Gpu,
    model: ModelOption,
    out: OutOption,
    tp: options.Tp = 1,
    tables: options.Tables = None,
    output: options.Form = options.Format.TABLE,
) -> None:
    """Derive a profile from kernel tables of the GPU or, without these, from its data sheet.

    Every result that uses it carries its label, and its band is wider than that of a fit.

    Example: `bros-sim profile derive --gpu l4-24gb --model config.json --out l4.yaml`
    """
    profile = derivation.derive(Target(find_gpu(gpu), find_model(model), tp), tables)
    write_profile(out, profile)
    printing.show(report.NewProfile(profile, out), output)
    say(f"{out} written")


def fit(
    steps: Annotated[Path, Argument(metavar="STEPS.csv", help="Measured steps.")],
    gpu: options.Gpu,
    model: ModelOption,
    out: OutOption,
    tp: options.Tp = 1,
    form: Annotated[Form, Option("--form", help="Form of the latency model.")] = Form.HYBRID,
    source: Annotated[
        str | None, Option(help="What was measured, for the label; the file by default.")
    ] = None,
    plot: Annotated[
        Path | None, Option(metavar="FILE.png", help="Draw the error of every row.")
    ] = None,
    output: options.Form = options.Format.TABLE,
) -> None:
    """Fit a latency model to measured steps and write it as a profile.

    A quarter of the rows is held out; the error printed and written is that on these rows.

    Example: `bros-sim profile fit steps.csv --gpu h100-80gb --model llama-3-8b --out mine.yaml`
    """
    options.check_picture(plot)
    target = Target(find_gpu(gpu), find_model(model), tp)
    fitted = fit_steps(read_steps(steps), form.value)
    profile = fitted_profile(fitted, target, steps, source or steps.name)
    write_profile(out, profile)
    if plot is not None:
        report.draw_fit(fitted, f"{profile.id}: {profile.label}", plot)
        say(f"{plot} written")
    printing.show(report.NewProfile(profile, out), output)
    say(f"{out} written")
