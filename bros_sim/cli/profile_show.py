"""``profile show``: what is known of a GPU and model, and what an iteration costs on them."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.options import Format, FormatOption, check_picture
from bros_sim.cli.output import say
from bros_sim.cli.printing import show as show_printed
from bros_sim.profiles.profile import load_profile
from bros_sim.report.profile_figure import draw
from bros_sim.report.profiles import ProfileFacts


def show(
    name: Annotated[
        str, typer.Argument(metavar="PROFILE", help="Id of a shipped profile, or a YAML file.")
    ],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the iteration times.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print all facts of a profile; optionally draw what iterations cost.

    Example: `bros-sim profile show a100-80gb/llama-3-8b-tp1 --plot a100.png`
    """
    profile = load_profile(name)
    check_picture(plot)
    show_printed(ProfileFacts(profile), form)
    if plot is not None:
        draw(profile, plot)
        say(f"{plot} written")
