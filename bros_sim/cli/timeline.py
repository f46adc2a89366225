"""``timeline``: one run as a Chrome trace, for Perfetto."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.points import PointOption, choose_point, need_tables, point_labels
from bros_sim.report.terminal import say

if TYPE_CHECKING:
    from bros_sim.study.results import PointResult
    from bros_sim.timeline import Span, Timeline
    from bros_sim.timeline.iterations import Timing


def timeline(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
    point: PointOption = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Only these seconds, e.g. `10:20`, `10:` or `:20`."),
    ] = None,
) -> None:
    """Write one run as a Chrome trace (`timelines/*.json.gz`); open it at ui.perfetto.dev.

    A process for each replica: its iterations (prefill, decode, mixed), KV copies, running and
    waiting requests and KV tokens by class, and a span for each request (queue, prefill, decode).
    A file that would be too large ends early, and a message says where.

    Example: `bros-sim timeline results/quickstart --point 1 --window 60:70`
    """
    from bros_sim.core.errors import InputError
    from bros_sim.study.store import open_results, replace_file
    from bros_sim.timeline import chrome_trace

    span = _span(window)
    found, _ = open_results(results)
    chosen = choose_point(found, point, {})
    need_tables(chosen)
    try:
        requests, steps = chosen.requests(), chosen.steps()
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{chosen.folder}: damaged, run it again: {what}") from None
    about = {"point": point_labels(chosen), **chosen.facts}
    about.pop("files", None)
    made = chrome_trace(requests, steps, _timing(chosen), span=span, about=about)
    if not made.shown:
        raise InputError(f"{point_labels(chosen)}: nothing happens in --window {window}")
    folder = results / "timelines"
    folder.mkdir(exist_ok=True)
    number = found.points.index(chosen) + 1
    path = folder / f"point-{number}{_suffix(window)}.json.gz"
    replace_file(path, made.content)
    _tell(made)
    sys.stdout.write(f"{path}\n")


def _span(window: str | None) -> "Span":
    """The window in seconds.

    Raises:
        InputError: It is not two times, the first before the second.
    """
    from bros_sim.core.errors import InputError
    from bros_sim.timeline import Span

    start, colon, end = (window or ":").partition(":")
    try:
        span = Span(float(start or 0), float(end or "inf"))
    except ValueError:
        span = None
    if span is None or not colon or not 0 <= span.start_s < span.end_s:
        what = "should be A:B in seconds, A before B, as in 10:20"
        raise InputError(f"--window {window}: {what}")
    return span


def _suffix(window: str | None) -> str:
    return f"-{window.replace(':', '-to-')}" if window else ""


def _timing(point: "PointResult") -> "Timing | None":
    from bros_sim.core.errors import InputError
    from bros_sim.experiment.build import read_point
    from bros_sim.study.store import RESOLVED
    from bros_sim.timeline.iterations import timing_of

    try:
        return timing_of(read_point((point.folder / RESOLVED).read_text(encoding="utf-8")))
    except (InputError, OSError) as error:
        what = " ".join(str(error).split())
        say(f"warning: iterations that were stored together stay together: {what}")
        return None


def _tell(made: "Timeline") -> None:
    """What is not as a reader expects."""
    if made.cut_s is not None:
        say(
            f"warning: the file ends at {made.cut_s:.3f} s, or it would be too large; "
            f"for the rest: --window {made.cut_s:.3f}:"
        )
    if made.whole:
        say(
            f"{made.whole:,} slices stand for several iterations, as their names say: "
            "these cannot be timed again one by one"
        )
