"""The timeline of a point as a file for Perfetto."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bros_sim.core.errors import InputError
from bros_sim.experiment.build import read_point
from bros_sim.study.files import replace_file
from bros_sim.study.results import PointResult, ResultSet, undamaged
from bros_sim.study.store import RESOLVED
from bros_sim.timeline import Span, Timeline, chrome_trace
from bros_sim.timeline.iterations import Timing, timing_of


def write_timeline(
    found: ResultSet, number: int | None, window: str | None
) -> tuple[Path, list[str]]:
    """Write one point's run, or a ``window`` A:B of it: the file, and lines about what it lacks.

    An `InputError` says that nothing happens then, or that no point or several fit, or its fault.
    """
    span = _span(window)
    chosen = found.one(number, {}).needed()
    with undamaged(chosen.folder):
        requests, steps = chosen.requests(), chosen.steps()
    about = {"point": chosen.words, **chosen.facts}
    about.pop("files", None)
    timing, notes = _timing(chosen)
    made = chrome_trace(requests, steps, timing, span=span, about=about)
    if not made.shown:
        raise InputError(f"{chosen.words}: nothing happens in --window {window}")
    folder = found.folder / "timelines"
    folder.mkdir(exist_ok=True)
    suffix = f"-{window.replace(':', '-to-')}" if window else ""
    path = folder / f"point-{found.points.index(chosen) + 1}{suffix}.json.gz"
    replace_file(path, made.content)
    return path, [*notes, *_notes(made)]


def _span(window: str | None) -> Span:
    """The window in seconds; an `InputError` unless it is two times in their order."""
    start, colon, end = (window or ":").partition(":")
    with suppress(ValueError):
        span = Span(float(start or 0), float(end or "inf"))
        if colon and 0 <= span.start_s < span.end_s:
            return span
    what = "should be A:B in seconds, A before B, as in 10:20"
    raise InputError(f"--window {window}: {what}")


def _timing(point: PointResult) -> tuple[Timing | None, list[str]]:
    try:
        return timing_of(read_point((point.folder / RESOLVED).read_text(encoding="utf-8"))), []
    except (InputError, OSError) as error:
        what = " ".join(str(error).split())
        return None, [f"warning: iterations that were stored together stay together: {what}"]


def _notes(made: Timeline) -> Iterator[str]:
    if made.cut_s is not None:
        what = f"the file ends at {made.cut_s:.3f} s, or it would be too large"
        yield f"warning: {what}; for the rest: --window {made.cut_s:.3f}:"
    if made.whole:
        what = "as their names say: these cannot be timed again one by one"
        yield f"{made.whole:,} slices stand for several iterations, {what}"
