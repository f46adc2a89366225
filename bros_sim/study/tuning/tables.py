"""What a search found, as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Measure
from bros_sim.metrics.paired import paired
from bros_sim.metrics.search import status
from bros_sim.study.results import ResultSet, saturation, show_label
from bros_sim.study.tuning.search import Answer, Judged

GIVEN, BEST = "as given", "best"
CHOSEN, HELD_OUT = "chosen on", "held out"
COMPARED = ("difference", "low", "high", "p_t", "p_wilcoxon", "seeds", "verdict", "why", "load")
"""Of the columns of `paired`."""


def trials_table(tuned: Answer) -> pd.DataFrame:
    """Every trial; 0 is the experiment as given.

    For each measure its mean over the seeds with the ``half_width`` of its 95 % t interval.
    """
    return pd.DataFrame([_tried(trial, tuned.best) for trial in tuned.trials])


def _tried(trial: Judged, best: Judged) -> dict[str, object]:
    row = {"trial": trial.number, **{path: show_label(v) for path, v in trial.values.items()}}
    for measure, mean in trial.means.items():
        known = not np.isnan(mean)
        row[str(measure)] = mean
        row[f"{measure} half_width"] = half_width(trial.sample(measure)) if known else np.nan
    runs = (trial.points[seed] for seed in sorted(trial.points))
    return row | {
        "seeds": len(trial.points),
        "verdict": trial.verdict,
        "best": trial.number == best.number,
        "load": saturation(runs, trial.question.objective.service_class),
        "error": trial.refused or trial.error,
    }


def answers(tuned: Answer) -> pd.DataFrame:
    """The best trial beside the experiment as given, on CHOSEN and on HELD_OUT seeds.

    ``half_width`` is of a 95 % t interval; ``kept``: whether the best keeps the target by it;
    COMPARED is best - as given over the same seeds, empty where nothing is better than as given.
    """
    searched = {trial.number: trial for trial in tuned.trials}
    chosen = searched[tuned.given.number], searched[tuned.best.number]
    return pd.DataFrame([*_rows(CHOSEN, *chosen), *_rows(HELD_OUT, tuned.given, tuned.best)])


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
            GIVEN: given.means[measure],
            f"{GIVEN} half_width": half_width(given.sample(measure)),
            BEST: best.means[measure],
            f"{BEST} half_width": half_width(best.sample(measure)),
            **_target(best, measure),
            **compared.get(measure, {}),
        }


def _target(best: Judged, measure: Measure) -> dict[str, object]:
    mine = [target for target in best.question.targets if target.measure == measure]
    sample = {seed: [value] for seed, value in enumerate(best.sample(measure))}
    said = dict.fromkeys(status(sample, [target]) for target in mine)
    return {"target": " and ".join(map(str, mine)), "kept": ", ".join(said)}


def _compared(
    given: Judged, best: Judged, measures: Sequence[Measure]
) -> dict[Measure, Mapping[str, object]]:
    if given.number == best.number:
        return {}
    runs = [(GIVEN, *run) for run in given.points.items()]
    runs += [(BEST, *run) for run in best.points.items()]
    points = [replace(run, labels={"system": name, "seed": seed}) for name, seed, run in runs]
    table = ResultSet("", Path(), points).table()
    found = paired(table, pd.DataFrame(), [], GIVEN, measures)
    return {
        Measure(row["metric"], row["class"]): {name: row[name] for name in COMPARED}
        for row in found.to_dict("records")
    }
