"""``profile fit-runs``: recorded runs of whole servers -> the named terms of a profile."""

import sys
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.progress import Progress
from typer import Argument, Option

from bros_sim.calibration.profiles import write_profile
from bros_sim.cli import options
from bros_sim.cli.printing import show
from bros_sim.cli.verbs import say
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import load_profile
from bros_sim.report.run_fit import FittedRuns
from bros_sim.study.study import cores
from bros_sim.validation.fit_runs import fit_runs
from bros_sim.validation.run_profile import fitted_profile
from bros_sim.validation.run_statistics import read_run
from bros_sim.validation.terms import DEFAULT_TERMS, TERMS


def fit(
    runs: Annotated[
        list[Path],
        Argument(metavar="RUN...", help="Folders with requests.csv(.gz) and meta.json."),
    ],
    profile: Annotated[
        str, Option(metavar="PROFILE", help="Where to start: an id, or a YAML file.")
    ],
    out: Annotated[Path, Option(metavar="FILE.yaml", help="Profile to write.")],
    holdout: Annotated[
        list[Path], Option(metavar="RUN", help="A run to judge on and not to fit; repeat it.")
    ] = [],  # noqa: B006 - typer's way
    terms: Annotated[
        str, Option(metavar="A,B,...", help=f"Terms to fit, of {', '.join(TERMS)}.")
    ] = ",".join(DEFAULT_TERMS),
    ttft: Annotated[
        bool, Option(help="Fit TTFT too; not where caches were warm in an unknown way.")
    ] = True,
    workers: options.Workers = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Fit a profile's engine terms to recorded runs, and judge it on others.

    Two runs of `vllm bench serve` at different loads, with prompts of different lengths, bring a
    profile within a few percent; docs/calibrate-your-gpu.md shows how.

    Example: `bros-sim profile fit-runs idle/ busy/ --holdout peak/ --profile
    h100-80gb/qwen3-14b-tp1 --out mine.yaml`
    """
    if out.suffix not in {".yaml", ".yml"} or not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: should be FILE.yaml in a folder that is there")
    names = list(dict.fromkeys(name.strip() for name in terms.split(",")))
    unknown = [name for name in names if name not in TERMS]
    if unknown:
        lines = [f"--terms: there is no term '{name}'{nearest(name, TERMS)}" for name in unknown]
        raise InputError(*lines)
    fitted, judged = [read_run(run) for run in runs], [read_run(run) for run in holdout]
    given = [run.name for run in (*fitted, *judged)]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise InputError(
            *(f"{name}: two runs are called so, or one is given twice" for name in twice)
        )
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replays")
        found = fit_runs(
            fitted, load_profile(profile), names, judged, ttft=ttft,
            workers=workers or cores(),
            progress=lambda total, done: bar.update(task, total=total, completed=done),
        )  # fmt: skip
    written = fitted_profile(found, fitted)
    write_profile(out, written)
    show(FittedRuns(found, written, out), form)
    say(f"{out} written")
