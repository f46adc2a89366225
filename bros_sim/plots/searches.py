"""What searches ran and found: for capacity a panel per target, for tuning one per parameter."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import WORDS, Measure, Target
from bros_sim.plots import style
from bros_sim.plots.style import HEIGHT_IN, MARKERS, PALETTE

NOTE = "bars: 95 % t interval over seeds; open: undecided; shaded: 95 % interval of the capacity"
KINDS = (("misses", "misses a target", "white"), ("keeps", "keeps the targets", PALETTE[0]))
"""Verdict, its words, what fills its marks; trials without a value are not drawn."""


def draw_capacity(
    answers: pd.DataFrame, evaluations: pd.DataFrame, targets: Sequence[Target], by: Sequence[str]
) -> Figure:
    """The measures of the targets against the value that was varied, and where they cross.

    The tables are those of `study.capacity`; ``by`` are the columns that name a cell.
    """
    with style.paper_style():
        figure, drawn = style.panels(["" for _ in targets], HEIGHT_IN, sharey=False)
        for panel, target in zip(drawn, targets, strict=True):
            mine = evaluations[evaluations["target"] == str(target)]
            _capacity_panel(panel, mine, answers, target, by)
        for panel in drawn:
            if style.spread(evaluations["value"].to_numpy(float), style.WIDE_X):
                _powers_of_two(panel)
            panel.xaxis.set_major_formatter(FuncFormatter(style.thousands))
        x = style.path_label(str(answers["vary"].iloc[0]))
        style.label_axes(drawn, x, _y_label(targets[0].measure))
        for panel, target in zip(drawn[1:], targets[1:], strict=True):
            panel.set_ylabel(_y_label(target.measure))
        return style.finish(figure, None, NOTE)


def draw_tuning(
    trials: pd.DataFrame, paths: Mapping[str, Sequence[object] | None], log: Sequence[str],
    objective: Measure, targets: Sequence[Target],
) -> Figure:  # fmt: skip
    """The objective of every trial of ``tuning.trials_table`` against each parameter.

    ``paths`` has the values of one that is a choice, None for a range; ``log`` those ranges with
    a logarithmic axis.
    """
    y = trials[str(objective)].to_numpy(float) * objective.scale
    names = short_names(paths)
    with style.paper_style():
        figure, drawn = style.panels(["" for _ in paths], HEIGHT_IN, sharex=False)
        for panel, (path, choices) in zip(drawn, paths.items(), strict=True):
            places = trials[path] if choices is None else _places(trials[path], choices)
            _tuning_panel(panel, trials.assign(x=places, y=y))
            panel.set_xlabel(names[path])
            if choices is not None:
                panel.set_xticks(range(len(choices)), [str(choice) for choice in choices])
                panel.set_xlim(-0.5, len(choices) - 0.5)
            elif path in log:
                _powers_of_two(panel)
                panel.xaxis.set_major_formatter("{x:g}")
        for panel in drawn[:: style.columns_of(drawn[0])]:
            panel.set_ylabel(_y_label(objective))
        limits = " and ".join(map(str, targets)) or "none"
        note = f"means over the seeds that the trials were chosen on; targets: {limits}"
        return style.finish(figure, None, note)


def _y_label(measure: Measure) -> str:
    return f"{measure.meaning.label}\n{WORDS[measure.service_class]} ({measure.unit})"


def _powers_of_two(panel: Panel) -> None:
    panel.set_xscale("log", base=2)
    panel.xaxis.set_minor_formatter(NullFormatter())


def _capacity_panel(
    panel: Panel, evaluations: pd.DataFrame, answers: pd.DataFrame, target: Target,
    by: Sequence[str],
) -> None:  # fmt: skip
    scale = target.measure.scale
    for n, (_, cell) in enumerate(answers.iterrows()):
        mine = evaluations
        for name in by:
            mine = mine[mine[name] == cell[name]]
        colour, marker = PALETTE[n % len(PALETTE)], MARKERS[n % len(MARKERS)]
        at, mean = mine["value"].to_numpy(float), scale * mine["mean"].to_numpy(float)
        name = ", ".join(str(cell[label]) for label in by)
        panel.plot(at, mean, color=colour, linewidth=0.8, marker="", zorder=2)
        for undecided in (False, True):
            these = ((mine["status"] == "undecided") == undecided).to_numpy()
            panel.errorbar(
                at[these], mean[these], yerr=scale * mine["half_width"].to_numpy(float)[these],
                color=colour, marker=marker, linestyle="", capsize=1.5, elinewidth=0.6,
                markerfacecolor="white" if undecided else colour, markeredgecolor=colour,
                label="_" if undecided else name, zorder=3,
            )  # fmt: skip
        if np.isfinite(cell["value"]):
            panel.axvline(cell["value"], color=colour, linewidth=0.7, zorder=1)
            panel.axvspan(cell["low"], cell["high"], color=colour, alpha=0.14, linewidth=0)
    panel.axhline(scale * target.value, linestyle=(0, (4, 3)), **style.HAIRLINE)


def _places(values: pd.Series, choices: Sequence[object]) -> list[float]:
    """Where each value stands among the choices; NaN for a given one that is none of them."""
    known = [str(choice) for choice in choices]
    return [known.index(str(v)) if str(v) in known else float("nan") for v in values]


def _tuning_panel(panel: Panel, trials: pd.DataFrame) -> None:
    for verdict, words, face in KINDS:
        mine = trials[trials["verdict"] == verdict]
        if len(mine):
            panel.plot(
                mine["x"], mine["y"], linestyle="", marker="o", markeredgecolor=PALETTE[0],
                markerfacecolor=face, label=words,
            )  # fmt: skip
    marked = (
        ("as given", trials["trial"] == 0, "D", 4, PALETTE[6]),
        ("best", trials["best"], "*", 8, PALETTE[1]),
    )
    for words, rows, marker, size, colour in marked:
        mine = trials[rows]
        panel.plot(
            mine["x"], mine["y"], linestyle="", marker=marker, color=colour, label=words,
            markersize=size, zorder=4,
        )  # fmt: skip
