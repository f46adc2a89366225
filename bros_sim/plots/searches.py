"""What a capacity search ran and found: a panel for each target, a colour for each system."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bros_sim.metrics.measures import Target
from bros_sim.plots.lines import HEIGHT_IN, WIDE_X
from bros_sim.plots.style import (
    CLASS_NAMES,
    MARKERS,
    PALETTE,
    finish,
    label_axes,
    panels,
    paper_style,
    path_label,
    spread,
    thousands,
)

NOTE = "bars: 95 % t interval over seeds; open: undecided; shaded: 95 % interval of the capacity"


def draw_capacity(
    answers: pd.DataFrame, evaluations: pd.DataFrame, targets: Sequence[Target], by: Sequence[str]
) -> Figure:
    """The measures of the targets against the value that was varied, and where they cross.

    Args:
        answers: What ``capacity.answers`` gives.
        evaluations: What ``capacity.evaluations`` gives.
        targets: One for each panel.
        by: The columns that name a cell: a colour each.
    """
    with paper_style():
        figure, drawn = panels(["" for _ in targets], HEIGHT_IN, sharey=False)
        for panel, target in zip(drawn, targets, strict=True):
            mine = evaluations[evaluations["target"] == str(target)]
            _panel(panel, mine, answers, target, by)
        for panel in drawn:
            _x_axis(panel, evaluations["value"].to_numpy(float))
        label_axes(drawn, path_label(str(answers["vary"].iloc[0])), _y_label(targets[0]))
        for panel, target in zip(drawn[1:], targets[1:], strict=True):
            panel.set_ylabel(_y_label(target))
        return finish(figure, None, NOTE)


def _y_label(target: Target) -> str:
    meaning = target.measure.meaning
    unit = "%" if target.measure.is_share else meaning.unit
    return f"{meaning.label}\n{CLASS_NAMES[target.measure.service_class]} ({unit})"


def _panel(
    panel: Panel,
    evaluations: pd.DataFrame,
    answers: pd.DataFrame,
    target: Target,
    by: Sequence[str],
) -> None:
    scale = 100.0 if target.measure.is_share else 1.0
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
    panel.axhline(scale * target.value, color="#555555", linewidth=0.7, linestyle=(0, (4, 3)))


def _x_axis(panel: Panel, values: np.ndarray) -> None:
    if spread(values, WIDE_X):
        panel.set_xscale("log", base=2)
        panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(thousands))
