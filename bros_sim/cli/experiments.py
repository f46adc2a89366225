"""How the verbs that run points start: the experiment from its file, where and how it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from bros_sim.cli.options import read_experiment
from bros_sim.cli.output import say
from bros_sim.cli.progress import Progress
from bros_sim.cli.verbs import INTERRUPTED
from bros_sim.core.labels import counted
from bros_sim.experiment import Loaded, load
from bros_sim.plots import FigureSpec
from bros_sim.report.figure_files import read_figures
from bros_sim.study.runner import Pending
from bros_sim.study.study import Ended, Watch


def load_experiment(path: Path, overrides: list[str] | None) -> tuple[Loaded, list[FigureSpec]]:
    """The experiment and its figures; its warnings go to stderr."""
    document = read_experiment(path, overrides)
    loaded = load(document)
    figures = read_figures(document, loaded.points)
    for line in loaded.warnings:
        say(f"warning: {line}")
    return loaded, figures


class Terminal(Watch):
    """Shows on stderr how a study goes on.

    ``again`` is the command that resumes it after an interruption.
    """

    def __init__(self, again: str) -> None:
        super().__init__()
        self._again = again

    def say(self, line: str) -> None:
        """One line."""
        say(line)

    @contextmanager
    def running(self, what: Pending) -> Iterator[Ended]:
        """What there is to do, then a bar while it is done."""
        for line in what.damaged:
            say(line)
        if what.complete:
            say(f"{counted(what.complete, 'point')} already in {what.folder}")
        if what.failed:
            failed = counted(len(what.failed), "point")
            say(f"{failed} failed before: --retry-failed runs them again")
        try:
            with Progress(len(what.todo)) as progress:
                yield progress.advance
        except KeyboardInterrupt:
            say(f"interrupted; the points that ended are kept, resume with: {self._again}")
            raise typer.Exit(INTERRUPTED) from None
