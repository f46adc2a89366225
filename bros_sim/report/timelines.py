"""The timeline of a point as a file for Perfetto."""

from dataclasses import dataclass
from pathlib import Path

from bros_sim.core.errors import InputError
from bros_sim.experiment.build import read_point
from bros_sim.study.files import replace_file
from bros_sim.study.results import PointResult, ResultSet, undamaged
from bros_sim.study.store import RESOLVED
from bros_sim.timeline import Span, Timeline, chrome_trace
from bros_sim.timeline.iterations import Timing, timing_of


@dataclass(frozen=True)
class Written:
    """The file, and lines about what is not as a reader expects."""

    file: Path
    notes: list[str]


def write_timeline(found: ResultSet, number: int | None, window: str | None) -> Written:
    """Write one point's run, or a ``window`` A:B of it, into ``timelines/``.

    Raises:
        InputError: The window is no window or nothing happens in it; no point or several fit; the
            point failed or is damaged.
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
    return Written(path, [*notes, *_notes(made)])


def _span(window: str | None) -> Span:
    """The window in seconds.

    Raises:
        InputError: It is not two times, the first before the second.
    """
    start, colon, end = (window or ":").partition(":")
    try:
        span = Span(float(start or 0), float(end or "inf"))
    except ValueError:
        span = None
    if span is None or not colon or not 0 <= span.start_s < span.end_s:
        what = "should be A:B in seconds, A before B, as in 10:20"
        raise InputError(f"--window {window}: {what}")
    return span


def _timing(point: PointResult) -> tuple[Timing | None, list[str]]:
    try:
        return timing_of(read_point((point.folder / RESOLVED).read_text(encoding="utf-8"))), []
    except (InputError, OSError) as error:
        what = " ".join(str(error).split())
        return None, [f"warning: iterations that were stored together stay together: {what}"]


def _notes(made: Timeline) -> list[str]:
    notes = []
    if made.cut_s is not None:
        notes.append(
            f"warning: the file ends at {made.cut_s:.3f} s, or it would be too large; "
            f"for the rest: --window {made.cut_s:.3f}:"
        )
    if made.whole:
        notes.append(
            f"{made.whole:,} slices stand for several iterations, as their names say: "
            "these cannot be timed again one by one"
        )
    return notes
