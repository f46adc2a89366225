"""Which point of a finished run a verb is about."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bros_sim.study.results import PointResult, ResultSet

CHOICES = 20
"""How many points a message lists."""

PointOption = Annotated[
    int | None, typer.Option(min=1, help="Number of the point, where there are several.")
]


def choose_point(
    found: "ResultSet", number: int | None, wanted: "Mapping[str, object]"
) -> "PointResult":
    """The one point with that number (from 1, in the order of summary.csv) and these labels.

    Raises:
        InputError: None or several are; with the points there are.
    """
    from bros_sim.core.errors import InputError

    points = dict(enumerate(found.points, 1))
    fits = {
        n: point
        for n, point in points.items()
        if number in {None, n}
        and all(value in {None, point.labels[name]} for name, value in wanted.items())
    }
    if len(fits) == 1:
        return next(iter(fits.values()))
    listed = fits or points
    lines = [f"  --point {n}: {point_labels(point)}" for n, point in listed.items()][:CHOICES]
    more = [f"  and {len(listed) - CHOICES} more"] if len(listed) > CHOICES else []
    what = "which point? These fit" if fits else "no such point. There are"
    raise InputError(f"{found.folder}: {what}:", *lines, *more)


def point_labels(point: "PointResult") -> str:
    """``system=BROS, rate_rps=4, seed=0``."""
    from bros_sim.study.results import label_words

    return label_words(point.labels)


def need_tables(point: "PointResult") -> None:
    """Refuse a point that failed.

    Raises:
        InputError: With what it failed of.
    """
    from bros_sim.core.errors import InputError

    if point.error:
        raise InputError(f"{point_labels(point)}: this point failed: {point.error}")
