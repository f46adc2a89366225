"""The points of an experiment with other seeds than those that its file asks for."""

import json
from collections.abc import Mapping
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


def grid_point(point: Point) -> str:
    """Name of its place in the grid, the same for all systems and seeds."""
    labels = {name: v for name, v in point.labels.items() if name not in {"system", "seed"}}
    return json.dumps(labels, sort_keys=True)


def with_seeds(loaded: Loaded, counts: Mapping[str, int]) -> Loaded:
    """The experiment with more seeds at some points of the grid, in the same order.

    ``counts``: `grid_point` -> number of seeds, under every system; others stay as they are.
    """
    points: list[Point] = []
    alone = dict(loaded.alone)
    first, last = loaded.spec.seed, {(p.labels["system"], grid_point(p)): p for p in loaded.points}
    for point in loaded.points:
        points.append(point)
        place = grid_point(point)
        if last[point.labels["system"], place] is not point:
            continue
        for seed in range(point.spec.seed + 1, first + counts.get(place, 0)):
            more, its_alone = with_seed(point, seed), alone_with_seed(loaded, point, seed)
            points.append(more)
            if its_alone is not None:
                alone[more.key] = its_alone
    return replace(loaded, points=points, alone=alone)
