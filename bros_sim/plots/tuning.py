"""What a search of parameters tried: a panel for each, the objective against its values."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bros_sim.core.labels import short_names
from bros_sim.metrics.measures import Measure, Target
from bros_sim.plots.lines import HEIGHT_IN
from bros_sim.plots.style import CLASS_NAMES, PALETTE, finish, panels, paper_style

KINDS = (("misses", "misses a target", "white"), ("keeps", "keeps the targets", PALETTE[0]))
"""Verdict, its words, what fills its marks; trials without a value are not drawn."""


def draw_tuning(
    trials: pd.DataFrame,
    paths: Mapping[str, Sequence[object] | None],
    log: Sequence[str],
    objective: Measure,
    targets: Sequence[Target],
) -> Figure:
    """The objective of every trial against each parameter.

    Args:
        trials: What ``tuning.trials_table`` gives.
        paths: The parameters; the values of one that is a choice, None for a range.
        log: Those with a logarithmic axis.
        objective: The measure on the y axis.
        targets: What the small print names.
    """
    scale = 100.0 if objective.is_share else 1.0
    y = trials[str(objective)].to_numpy(float) * scale
    names = short_names(paths)
    with paper_style():
        figure, drawn = panels(["" for _ in paths], HEIGHT_IN, sharex=False)
        for panel, (path, choices) in zip(drawn, paths.items(), strict=True):
            places = trials[path] if choices is None else _places(trials[path], choices)
            _panel(panel, trials.assign(x=places, y=y))
            panel.set_xlabel(names[path])
            if choices is not None:
                panel.set_xticks(range(len(choices)), [str(choice) for choice in choices])
                panel.set_xlim(-0.5, len(choices) - 0.5)
            elif path in log:
                panel.set_xscale("log", base=2)
                panel.xaxis.set_minor_formatter(NullFormatter())
                panel.xaxis.set_major_formatter("{x:g}")
        for panel in drawn[:: _columns(drawn[0])]:
            panel.set_ylabel(_y_label(objective))
        limits = " and ".join(map(str, targets)) or "none"
        note = f"means over the seeds that the trials were chosen on; targets: {limits}"
        return finish(figure, None, note)


def _columns(panel: Panel) -> int:
    place = panel.get_subplotspec()
    return place.get_gridspec().ncols if place is not None else 1


def _y_label(measure: Measure) -> str:
    unit = "%" if measure.is_share else measure.meaning.unit
    return f"{measure.meaning.label}\n{CLASS_NAMES[measure.service_class]} ({unit})"


def _places(values: pd.Series, choices: Sequence[object]) -> list[float]:
    """Where each value stands among the choices; NaN for a given one that is none of them."""
    known = [str(choice) for choice in choices]
    return [known.index(str(v)) if str(v) in known else float("nan") for v in values]


def _panel(panel: Panel, trials: pd.DataFrame) -> None:
    for verdict, words, face in KINDS:
        mine = trials[trials["verdict"] == verdict]
        if len(mine):
            panel.plot(
                mine["x"], mine["y"], linestyle="", marker="o", markeredgecolor=PALETTE[0],
                markerfacecolor=face, label=words,
            )  # fmt: skip
    marked = (
        ("as given", trials["trial"] == 0, "D", PALETTE[6]),
        ("best", trials["best"], "*", PALETTE[1]),
    )
    for words, rows, marker, colour in marked:
        mine = trials[rows]
        panel.plot(
            mine["x"], mine["y"], linestyle="", marker=marker, color=colour, label=words,
            markersize=8 if marker == "*" else 4, zorder=4,
        )  # fmt: skip
