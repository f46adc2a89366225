"""Progress of a sweep on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bros_sim.cli.output import say
from bros_sim.experiment import Point
from bros_sim.study.runner import Outcome

QUIET_S = 5.0
"""Plain lines come at most this often."""


class Progress:
    """Counts points; use as a context manager and call `advance` after each."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._bar.stop()

    def advance(self, point: Point, outcome: Outcome) -> None:
        """One more point has ended."""
        self.done += 1
        self.failed += bool(outcome.error)
        failed = f", {self.failed} failed" if self.failed else ""
        if self._live:
            text = f"{point.labels['system']}{failed}"
            self._bar.update(self._task, advance=1, description=text)
        elif self.done == self.total or time.monotonic() - self._last_line > QUIET_S:
            self._last_line = time.monotonic()
            say(f"{self.done}/{self.total} points{failed}")
