"""What a search for parameters writes and says."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS, Measure
from bros_sim.metrics.search import KEPT
from bros_sim.plots.tuning import draw_tuning
from bros_sim.report.compared import difference
from bros_sim.report.searches import estimate, search_folder, write_figure, write_table
from bros_sim.report.tables import Part, Table
from bros_sim.report.verdict import Row, amount, records, signed, verdict
from bros_sim.study.results import show_label
from bros_sim.study.store import Store, as_json, made_by, replace_file
from bros_sim.study.tuning import Aim, Choice, Range, Setting, Trial, Tuned, answers, trials_table
from bros_sim.study.tuning.search import KEEPS
from bros_sim.study.tuning.tables import BEST, GIVEN, HELD_OUT

SEARCHES = "tuning"
"""Folder of the searches beside ``points``."""


def judged(trial: Trial) -> str:
    """One line about a trial that was just run."""
    names = short_names(trial.values)
    values = ", ".join(f"{names[p]}={show_label(value)}" for p, value in trial.values.items())
    who = f"trial {trial.number}/{trial.aim.trials}: {values}" if trial.number else "as given"
    if trial.refused or trial.error:
        return f"{who}: {trial.verdict}: {trial.refused or trial.error}"
    said = [f"{m} {estimate(m, trial.sample(m))}" for m in trial.aim.measures]
    judgement = f": {trial.verdict}" if trial.aim.targets or trial.verdict != KEEPS else ""
    return f"{who}: {', '.join(said)}{judgement}"


def _wanted(aim: Aim) -> str:
    """``Most output_throughput[be] that keeps ...``."""
    limits = " and ".join(map(str, aim.targets))
    most = f"{'Most' if aim.maximize else 'Least'} {aim.objective}"
    return f"{most} that keeps {limits}" if limits else most


def write(tuned: Tuned, setting: Setting, aim: Aim, store: Store) -> tuple[Path, pd.DataFrame]:
    """Write what was found beside the points; the folder and the table of the answers."""
    names = short_names(setting.given)
    vary = [*map(str, setting.space)]
    short = [names[text.partition("=")[0]] + text[text.index("=") :] for text in vary]
    words = [f"{setting.system} {_wanted(aim)} by", *short]
    folder = search_folder(store, SEARCHES, " ".join(words))
    trials, found = trials_table(tuned), answers(tuned)
    write_table(folder / "trials.csv", trials)
    write_table(folder / "answer.csv", found)
    points = [
        {"trial": trial.number, "seed": seed, "key": point.key, "be_alone": point.be_alone}
        for trial in tuned.judged
        for seed, point in trial.points.items()
    ]
    asked = {**vars(aim), "objective": str(aim.objective), "targets": [*map(str, aim.targets)]}
    asked |= {"system": setting.system, "vary": vary}
    content = {**made_by(), "asked": asked, "experiment": setting.loaded.source, "points": points}
    replace_file(folder / "provenance.json", as_json(content))
    choices = {
        p.path: [*map(show_label, p.values)] if isinstance(p, Choice) else None
        for p in setting.space
    }
    log = [p.path for p in setting.space if isinstance(p, Range) and p.log]
    figure = draw_tuning(trials, choices, log, aim.objective, aim.targets)
    write_figure(folder, "tuning", figure)
    return folder, found


def answer_parts(tuned: Tuned, setting: Setting, found: pd.DataFrame) -> Iterator[Part]:
    """The best values, what they came to on held-out seeds, and what may be said of that."""
    aim, best = tuned.best.aim, tuned.best
    yield f"{_wanted(aim)}, {setting.system}, {_among(tuned)}:"
    names = short_names(setting.given)
    rows = [
        [names[path], *(str(show_label(values[path])) for values in (setting.given, best.values))]
        for path in setting.given
    ]
    yield Table(["parameter", GIVEN, BEST], rows)
    if best.verdict != KEEPS:
        yield "None keeps the targets; this one misses them by least."
    elif tuned.trials[0].verdict != KEEPS:
        yield "The values given do not keep the targets."
    fresh = found[found["on"] == HELD_OUT] if len(found) else found
    if len(fresh):
        yield from _held_out(tuned, fresh)


def failures(tuned: Tuned) -> list[str]:
    """A line for each trial that failed."""
    return [f"failed: trial {trial.number}: {trial.error}" for trial in tuned.judged if trial.error]


def _among(tuned: Tuned) -> str:
    verdicts = [trial.verdict for trial in tuned.trials]
    kept = f", {verdicts.count(KEEPS)} of which keep them" if tuned.best.aim.targets else ""
    return f"among {len(verdicts)} combinations{kept}"


def _held_out(tuned: Tuned, fresh: pd.DataFrame) -> Iterator[Part]:
    aim, first = tuned.best.aim, int(fresh["first_seed"].iloc[0])
    chosen = f"seeds {first - aim.seeds} to {first - 1}"
    yield f"\nOn seeds {first} to {first + aim.held_out - 1}, which played no part:"
    compared = "verdict" in fresh
    beside = [BEST, "difference (95 %)", "in words"] if compared else []
    rows = [_cells(row, compared=compared) for row in records(fresh)]
    yield Table(["measure", GIVEN, *beside, "target"], rows)
    if not compared:
        yield f"On {chosen} nothing that was tried is better than the values given."
        return
    named = fresh.assign(system="the best combination")
    yield verdict(named, [], "the values given")
    for row in records(fresh):
        if row["target"] and row["kept"] != KEPT:
            yield f"warning: {row['target']}: {row['kept']} on these seeds"
    yield f"It was chosen on {chosen}, which flatter it: trials.csv has them."


def _cells(row: Row, *, compared: bool) -> list[str]:
    measure = Measure(row["metric"], row["class"])
    unit = "%" if measure.is_share else measure.meaning.unit
    cells = [f"{measure.meaning.label}, {WORDS[measure.service_class]} ({unit})"]
    for side in (GIVEN, BEST) if compared else (GIVEN,):
        numbers = (row[side], row[f"{side} half_width"])
        cells.append(" ± ".join(amount(measure, number) for number in numbers))
    cells += [difference(row, measure), signed(row)] if compared else []
    return [*cells, f"{row['target']}: {row['kept']}" if row["target"] else "-"]
