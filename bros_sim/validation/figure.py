"""The figure of ``bros-sim validate``: timeline and CDFs, real against simulated."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bros_sim.core.labels import counted
from bros_sim.plots.style import PAGE_IN, PALETTE, finish, new_figure, paper_style
from bros_sim.validation.compare import METRICS, Comparison

HEIGHT_IN = 3.6
STYLES: dict[str, dict[str, Any]] = {
    "real": {"label": "real", "color": PALETTE[6], "linestyle": "-"},
    "simulated": {"label": "simulated", "color": PALETTE[1], "linestyle": "--"},
}
SIDES = {"real": "real", "sim": "simulated"}
LABELS = {
    "ttft": "Time to first token (s)",
    "tpot": "Time per output token (ms)",
    "e2e": "End-to-end latency (s)",
}


def draw(comparison: Comparison, title: str) -> Figure:
    """Output tokens per second over the run above the CDFs of TTFT, TPOT and E2E."""
    with paper_style():
        figure = new_figure(PAGE_IN, HEIGHT_IN)
        grid = figure.add_gridspec(2, len(METRICS))
        _timeline(figure.add_subplot(grid[0, :]), comparison)
        for column, name in enumerate(METRICS):
            _cdf(figure.add_subplot(grid[1, column]), comparison, name)
        note = f"{counted(len(comparison.requests), 'request')}; "
        return finish(figure, title, f"{note}times from when the engine takes a request in")


def _timeline(panel: Axes, comparison: Comparison) -> None:
    table = comparison.throughput
    for side, style in STYLES.items():
        panel.step(table["time_s"], table[side], where="post", **style)
    panel.set_xlabel("Time (s)")
    panel.set_ylabel("Output tokens/s")
    panel.set_ylim(bottom=0)


def _cdf(panel: Axes, comparison: Comparison, name: str) -> None:
    scale = 1.0 if name == "tpot" else 1e-3
    for short, side in SIDES.items():
        values = np.sort(comparison.requests[f"{short}_{name}_ms"].dropna().to_numpy(float)) * scale
        shares = 100 * np.arange(1, len(values) + 1) / len(values)
        panel.step(values, shares, where="post", **STYLES[side])
    panel.set_xlabel(LABELS[name])
    panel.set_ylim(0, 102)
    if name == METRICS[0]:
        panel.set_ylabel("Requests (%)")
