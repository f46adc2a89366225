"""How the verbs that run points start, and what they show while points run."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from typer import Exit

from bros_sim.cli.verbs import INTERRUPTED, say
from bros_sim.config import Document, override, read_yaml
from bros_sim.core.labels import counted
from bros_sim.experiment import Loaded, Point, load
from bros_sim.plots import FigureSpec
from bros_sim.report.figure_files import read_figures
from bros_sim.study.runner import Outcome, Pending
from bros_sim.study.study import Ended, Watch

QUIET_S = 5.0  # plain lines come at most this often


def read_experiment(path: Path, overrides: list[str] | None) -> Document:
    """The file with what ``--set`` changes."""
    document = read_yaml(path)
    for assignment in overrides or []:
        document = override(document, assignment)
    return document


def load_experiment(path: Path, overrides: list[str] | None) -> tuple[Loaded, list[FigureSpec]]:
    """The experiment and its figures; its warnings go to stderr."""
    document = read_experiment(path, overrides)
    loaded = load(document)
    figures = read_figures(document, loaded.points)
    for line in loaded.warnings:
        say(f"warning: {line}")
    return loaded, figures


class Progress:
    """Counts points; use as a context manager and call `advance` after each."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._last_line = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(file=sys.stderr)
        self._bar = RichProgress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._live = console.is_terminal and total > 0
        self._task = self._bar.add_task("running", total=total)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def advance(self, point: Point, outcome: Outcome) -> None:
        """One more point has ended."""
        self.done += 1
        self.failed += bool(outcome.error)
        failed = f", {self.failed} failed" if self.failed else ""
        if self._live:
            what = f"{point.labels['system']}{failed}"
            self._bar.update(self._task, advance=1, description=what)
        elif self.done == self.total or time.monotonic() - self._last_line > QUIET_S:
            self._last_line = time.monotonic()
            say(f"{self.done}/{self.total} points{failed}")


class Terminal(Watch):
    """Shows on stderr how a study goes on; ``again`` is the command that resumes it."""

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
            raise Exit(INTERRUPTED) from None
