"""What a search found, as tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.search import region, rows
from bros_sim.study.capacity.search import Cell
from bros_sim.study.capacity.variants import Question
from bros_sim.study.results import saturation, show_label

ANSWER = ("value", "low", "high", "kept", "missed", "binds", "seeds", "load", "error")


def answers(cells: Sequence[Cell], question: Question, gpus: int) -> pd.DataFrame:
    """The capacity of each cell.

    Returns:
        The labels of the cells, ``vary``, ANSWER (as in `Answer`; ``load`` as `Cell.load` says),
        and for ``cluster.replicas`` ``gpus``, with ``gpus`` of them in a replica.
    """
    found = []
    for cell in cells:
        labels = {name: show_label(value) for name, value in cell.labels.items()}
        values = {} if cell.error else {**vars(cell.answer()), "load": cell.load()}
        found.append({**labels, "vary": question.vary, **values, "error": cell.error})
    table = pd.DataFrame(found, columns=[*cells[0].labels, "vary", *ANSWER])
    replicas = question.vary == "cluster.replicas"
    return table.assign(gpus=gpus * table["value"].astype(float)) if replicas else table


def evaluations(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every value that was run.

    Returns:
        The labels of the cells, ``value``, ``target``, ``mean`` of its measure over ``seeds``,
        ``half_width`` of its 95 % t interval, ``status`` of the value under all targets,
        ``used`` for the answer, ``load``: the saturation verdicts.
    """
    found = []
    for cell in cells:
        labels = {name: show_label(value) for name, value in cell.labels.items()}
        inside = [] if cell.error else region(cell.found, cell.goal)
        for value, sample in sorted(cell.found.items()):
            known = rows(sample)
            for number, target in enumerate(cell.goal.targets):
                of, runs = target.measure.service_class, cell.points[value].values()
                found.append(
                    {
                        **labels,
                        "value": value,
                        "target": str(target),
                        "mean": float(known[:, number].mean()) if len(known) else np.nan,
                        "half_width": half_width(known[:, number]),
                        "seeds": len(known),
                        "status": cell.status(value),
                        "used": value in inside,
                        "load": saturation(runs, of),
                    }
                )
    return pd.DataFrame(found)
