"""What a search found, as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Measure, Target
from bros_sim.metrics.paired import paired
from bros_sim.metrics.search import status
from bros_sim.study.results import ResultSet, saturation, show_label
from bros_sim.study.tuning.search import Answer, Judged

GIVEN, BEST = "as given", "best"
CHOSEN, HELD_OUT = "chosen on", "held out"
"""The two sets of seeds."""
COMPARED = ("difference", "low", "high", "p_t", "p_wilcoxon", "seeds", "verdict", "why", "load")
"""Of the columns of `paired`."""


def trials_table(tuned: Answer) -> pd.DataFrame:
    """Every trial.

    Returns:
        ``trial`` (0: as given), a column for each path, for each measure its mean over the seeds
        and ``... half_width`` of its 95 % t interval, ``seeds``, ``verdict`` as `Trial.verdict`,
        ``best``, ``load``: the saturation verdicts, ``error``.
    """
    rows = []
    for trial in tuned.trials:
        values = {path: show_label(value) for path, value in trial.values.items()}
        rows.append(
            {
                "trial": trial.number,
                **values,
                **_estimates(trial),
                "seeds": len(trial.points),
                "verdict": trial.verdict,
                "best": trial.number == tuned.best.number,
                "load": saturation(
                    (trial.points[seed] for seed in sorted(trial.points)),
                    trial.question.objective.service_class,
                ),
                "error": trial.refused or trial.error,
            }
        )
    return pd.DataFrame(rows)


def _estimates(trial: Judged) -> dict[str, float]:
    found = {}
    for measure, mean in trial.means.items():
        known = not np.isnan(mean)
        found[str(measure)] = mean
        half = half_width(trial.sample(measure)) if known else np.nan
        found[f"{measure} half_width"] = half
    return found


def answers(tuned: Answer) -> pd.DataFrame:
    """The best trial beside the experiment as given, on each set of seeds.

    Returns:
        ``on`` (CHOSEN or HELD_OUT seeds), ``first_seed``, ``class``, ``metric``; ``as given`` and
        ``best``, the means, each with its ``... half_width`` (95 % t interval); ``target`` and
        ``kept``, whether the best trial keeps it by that interval; the columns COMPARED of
        `paired`, best - as given over the same seeds, empty where nothing is better than that.
    """
    searched = {trial.number: trial for trial in tuned.trials}
    sets = {
        CHOSEN: (searched[tuned.given.number], searched[tuned.best.number]),
        HELD_OUT: (tuned.given, tuned.best),
    }
    rows = [row for name, (given, best) in sets.items() for row in _rows(name, given, best)]
    return pd.DataFrame(rows)


def _rows(name: str, given: Judged, best: Judged) -> Iterator[dict[str, object]]:
    if given.error or best.error:
        return
    measures = given.question.measures
    compared = _compared(given, best, measures)
    for measure in measures:
        yield {
            "on": name,
            "first_seed": min(given.points),
            "class": measure.service_class,
            "metric": measure.metric,
            **_side(GIVEN, given, measure),
            **_side(BEST, best, measure),
            **_target(best, measure),
            **compared.get(measure, {}),
        }


def _side(name: str, trial: Judged, measure: Measure) -> dict[str, object]:
    half = half_width(trial.sample(measure))
    return {name: trial.means[measure], f"{name} half_width": half}


def _target(best: Judged, measure: Measure) -> dict[str, object]:
    mine = [target for target in best.question.targets if target.measure == measure]
    said = [_status(best, target) for target in mine]
    return {"target": " and ".join(map(str, mine)), "kept": ", ".join(dict.fromkeys(said))}


def _status(best: Judged, target: Target) -> str:
    sample = best.sample(target.measure)
    return status({seed: [value] for seed, value in enumerate(sample)}, [target])


def _compared(
    given: Judged, best: Judged, measures: Sequence[Measure]
) -> dict[Measure, Mapping[str, object]]:
    if given.number == best.number:
        return {}
    points = [
        replace(point, labels={"system": name, "seed": seed})
        for name, trial in ((GIVEN, given), (BEST, best))
        for seed, point in trial.points.items()
    ]
    table = ResultSet("", Path(), points).table()
    found = paired(table, pd.DataFrame(), [], GIVEN, measures)
    rows = [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]
    return {
        Measure(row["metric"], row["class"]): {name: row[name] for name in COMPARED} for row in rows
    }
