"""The figure of a capacity search: points with intervals, the limits, and where they are met."""

import numpy as np
import pandas as pd
import pytest

from bros_sim.metrics.measures import Target
from bros_sim.plots import render
from bros_sim.plots.searches import draw_capacity

SHARE = Target.parse("slo_attainment >= 0.9", "--target")
TTFT = Target.parse("mean_ttft_ms <= 300", "--and")
VALUES = [4.0, 5.0, 6.0]


def tables(value=5.2):
    rows = [
        {"system": system, "value": v, "target": str(target), "mean": mean - n * v / 100,
         "half_width": 0.01, "status": status}
        for n, system in enumerate(("A", "B"))
        for target, means in ((SHARE, (0.99, 0.91, 0.7)), (TTFT, (100.0, 200.0, 900.0)))
        for v, mean, status in zip(VALUES, means, ("kept", "undecided", "missed"), strict=True)
    ]  # fmt: skip
    answers = [
        {"system": s, "vary": "x.rate_rps", "value": v, "low": v - 0.1, "high": v + 0.1}
        for s, v in (("A", value), ("B", np.nan))
    ]
    return pd.DataFrame(answers), pd.DataFrame(rows)


def test_a_panel_for_each_target_with_a_scale_of_its_own():
    figure = draw_capacity(*tables(), [SHARE, TTFT], ["system"])
    share, ttft = figure.axes
    assert share.get_ylim()[1] < 110 < 800 < ttft.get_ylim()[1]
    assert share.get_ylabel() == "SLO attainment\nreal-time (%)"
    assert ttft.get_ylabel() == "Mean TTFT\nreal-time (ms)"
    for panel, limit, means in ((share, 90, [99, 91, 70]), (ttft, 300, [100, 200, 900])):
        lines = [(np.asarray(a.get_xdata()), np.asarray(a.get_ydata())) for a in panel.lines]
        assert any(list(x) == VALUES and list(y) == pytest.approx(means) for x, y in lines)
        assert any(list(y) == [limit, limit] for _, y in lines)
        assert sum(list(x) == [5.2, 5.2] for x, _ in lines) == 1  # B has no answer
        shapes = [a for a in panel.lines if a.get_marker() in {"o", "s"}]
        open_ones = [a for a in shapes if a.get_markerfacecolor() == "white"]
        assert [list(a.get_xdata()) for a in open_ones] == [[5.0], [5.0]]  # undecided
    assert "x.rate_rps (req/s)" in {panel.get_xlabel() for panel in figure.axes}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]


def test_the_same_figure_gives_the_same_bytes():
    first, again = (render(draw_capacity(*tables(), [SHARE], ["system"]), "svg") for _ in range(2))
    assert first == again
