"""The figure of ``trace stats --plot``: lengths and arrivals of one trace."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bros_sim.core.atomic import written
from bros_sim.workload.traces import Trace


def draw(trace: Trace, path: Path) -> None:
    """Draw the CDFs of both lengths, and the rate over time where there are arrivals.

    Raises:
        InputError: The file cannot be written.
    """
    panels = int(trace.has_lengths) + int(trace.arrival_s is not None)
    figure = Figure(figsize=(4.2 * panels, 3.0), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if trace.has_lengths:
        _lengths(axes[0], trace)
    if trace.arrival_s is not None:
        _rate(axes[-1], trace.arrival_s)
    with written(path) as draft:
        figure.savefig(draft, format=path.suffix[1:].lower(), dpi=200)


def _lengths(axes: Axes, trace: Trace) -> None:
    for name, lengths in (("prompt", trace.prompt_tokens), ("output", trace.output_tokens)):
        axes.plot(np.sort(lengths), np.linspace(0, 1, len(lengths)), label=name)
    axes.set(xscale="log", xlabel="tokens", ylabel="share of requests", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _rate(axes: Axes, times: NDArray[np.float64]) -> None:
    width = max(1.0, float(np.ceil(times[-1] / 240)))
    edges = np.arange(0, times[-1] + width, width)
    counts, _ = np.histogram(times, edges if len(edges) > 1 else [0.0, width])
    axes.stairs(counts / width, edges if len(edges) > 1 else [0.0, width], fill=True, alpha=0.7)
    axes.set(xlabel="time (s)", ylabel=f"requests/s in {width:g} s", ylim=(0, None))
    axes.grid(alpha=0.3)
