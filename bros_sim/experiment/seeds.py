"""The points of an experiment with other seeds than those that its file asks for."""

from dataclasses import replace

from bros_sim.experiment import Loaded, Point


def with_seed(point: Point, seed: int) -> Point:
    """The same point with another seed."""
    spec = point.spec.model_copy(update={"seed": seed})
    return replace(point, labels={**point.labels, "seed": seed}, spec=spec)


def alone_with_seed(loaded: Loaded, point: Point, seed: int) -> Point | None:
    """What `with_seed` of ``point`` is compared with, where be_retention is asked for."""
    alone = loaded.alone.get(point.key)
    return alone and with_seed(alone, seed)
