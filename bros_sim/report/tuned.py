"""What a search for parameters writes and says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS, Measure
from bros_sim.metrics.search import KEPT
from bros_sim.plots.searches import draw_tuning
from bros_sim.report.compared import difference
from bros_sim.report.searches import estimate, write_search
from bros_sim.report.tables import Part, Printed, Row, Table, plain_rows, records
from bros_sim.report.verdict import amount, signed, verdict
from bros_sim.study.results import show_label
from bros_sim.study.store import Store
from bros_sim.study.tuning.search import KEEPS, Answer, Judged, Question
from bros_sim.study.tuning.space import Choice, Range, Setting
from bros_sim.study.tuning.tables import BEST, GIVEN, HELD_OUT, answers, trials_table


@dataclass(frozen=True)
class Tuned(Printed):
    """What a search for parameters found.

    ``answers`` has the best beside the experiment as given, a row for each set of seeds and
    measure; ``trials`` a row for each combination that was tried.
    """

    folder: Path
    setting: Setting
    answer: Answer
    answers: pd.DataFrame
    trials: pd.DataFrame

    @property
    def best(self) -> dict[str, object]:
        """Path -> value of the best combination."""
        return dict(self.answer.best.values)

    def parts(self) -> Iterator[Part]:
        answer, setting, found = self.answer, self.setting, self.answers
        question, best = answer.best.question, answer.best
        verdicts = [trial.verdict for trial in answer.trials]
        kept = f", {verdicts.count(KEEPS)} of which keep them" if question.targets else ""
        among = f"among {len(verdicts)} combinations{kept}"
        yield f"{_wanted(question)}, {setting.system}, {among}:"
        names = short_names(setting.given)
        rows = [
            [names[path], str(show_label(given)), str(show_label(best.values[path]))]
            for path, given in setting.given.items()
        ]
        yield Table(["parameter", GIVEN, BEST], rows)
        if best.verdict != KEEPS:
            yield "None keeps the targets; this one misses them by least."
        elif answer.trials[0].verdict != KEEPS:
            yield "The values given do not keep the targets."
        fresh = found[found["on"] == HELD_OUT] if len(found) else found
        if len(fresh):
            yield from _held_out(answer, fresh)

    def plain(self) -> dict[str, object]:
        best = {"trial": self.answer.best.number, "values": self.best}
        head = {"name": self.setting.loaded.spec.name, "folder": str(self.folder), "best": best}
        return {**head, "answers": plain_rows(self.answers)}

    @property
    def failures(self) -> list[str]:
        """A line for each combination that failed."""
        failed = [one for one in self.answer.judged if one.error]
        return [f"failed: trial {one.number}: {one.error}" for one in failed]


def judged(trial: Judged) -> str:
    """One line about a trial that was just run."""
    names = short_names(trial.values)
    values = ", ".join(f"{names[p]}={show_label(value)}" for p, value in trial.values.items())
    who = f"trial {trial.number}/{trial.question.trials}: {values}" if trial.number else "as given"
    if trial.refused or trial.error:
        return f"{who}: {trial.verdict}: {trial.refused or trial.error}"
    said = [f"{m} {estimate(m, trial.sample(m))}" for m in trial.question.measures]
    judgement = f": {trial.verdict}" if trial.question.targets or trial.verdict != KEEPS else ""
    return f"{who}: {', '.join(said)}{judgement}"


def _wanted(question: Question) -> str:
    """``Most output_throughput[be] that keeps ...``."""
    limits = " and ".join(map(str, question.targets))
    most = f"{'Most' if question.maximize else 'Least'} {question.objective}"
    return f"{most} that keeps {limits}" if limits else most


def write_tuning(answer: Answer, setting: Setting, store: Store) -> Tuned:
    """Write what was found beside the points."""
    question, names = answer.best.question, short_names(setting.given)
    vary = [*map(str, setting.space)]
    short = [names[text.partition("=")[0]] + text[text.index("=") :] for text in vary]
    trials, found = trials_table(answer), answers(answer)
    points = [
        {"trial": one.number, "seed": seed, "key": point.key, "be_alone": point.baseline}
        for one in answer.judged
        for seed, point in one.points.items()
    ]
    asked = {**vars(question), "objective": str(question.objective)}
    asked |= {"targets": [*map(str, question.targets)], "system": setting.system, "vary": vary}
    folder = write_search(
        store, "tuning", " ".join([f"{setting.system} {_wanted(question)} by", *short]),
        {"trials": trials, "answer": found},
        {"asked": asked, "experiment": setting.loaded.document.data, "points": points},
        _figure(trials, setting, question),
    )  # fmt: skip
    return Tuned(folder, setting, answer, found, trials)


def _figure(trials: pd.DataFrame, setting: Setting, question: Question) -> Figure:
    choices = {
        p.path: [*map(show_label, p.values)] if isinstance(p, Choice) else None
        for p in setting.space
    }
    log = [p.path for p in setting.space if isinstance(p, Range) and p.log]
    return draw_tuning(trials, choices, log, question.objective, question.targets)


def _held_out(answer: Answer, fresh: pd.DataFrame) -> Iterator[Part]:
    question, first = answer.best.question, int(fresh["first_seed"].iloc[0])
    chosen = f"seeds {first - question.seeds} to {first - 1}"
    yield f"\nOn seeds {first} to {first + question.held_out - 1}, which played no part:"
    compared = "verdict" in fresh
    beside = [BEST, "difference (95 %)", "in words"] if compared else []
    rows = [_cells(row, compared=compared) for row in records(fresh)]
    yield Table(["measure", GIVEN, *beside, "target"], rows)
    if not compared:
        yield f"On {chosen} nothing that was tried is better than the values given."
        return
    yield verdict(fresh.assign(system="the best combination"), [], "the values given")
    for row in records(fresh):
        if row["target"] and row["kept"] != KEPT:
            yield f"warning: {row['target']}: {row['kept']} on these seeds"
    yield f"It was chosen on {chosen}, which flatter it: trials.csv has them."


def _cells(row: Row, *, compared: bool) -> list[str]:
    measure = Measure(row["metric"], row["class"])
    cells = [f"{measure.meaning.label}, {WORDS[measure.service_class]} ({measure.unit})"]
    for side in (GIVEN, BEST) if compared else (GIVEN,):
        numbers = (row[side], row[f"{side} half_width"])
        cells.append(" ± ".join(amount(measure, number) for number in numbers))
    cells += [difference(row, measure), signed(row)] if compared else []
    return [*cells, f"{row['target']}: {row['kept']}" if row["target"] else "-"]
