"""Traces in tables and a figure: the shipped twins, and the statistics of one trace or twin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.report.tables import Part, Printed, Table, number
from bros_sim.workload.statistics import trace_summary
from bros_sim.workload.traces import Trace
from bros_sim.workload.twins import Twin, is_twin, load_twin, twin_paths, why_no_twin

ABOUT = ("describes", "licence", "note")  # what a twin says of itself


@dataclass(frozen=True)
class TwinList(Printed):
    """What the shipped twins describe, their licences and statistics."""

    twins: Sequence[Twin]

    def parts(self) -> Iterator[Part]:
        headings = ["twin", "rows", "rps", "prompt mean", "p99", "output mean", "p99 ", "licence"]
        yield Table(headings, [_twin_row(twin) for twin in self.twins])

    def plain(self) -> list[dict[str, object]]:
        keys = ("name", *ABOUT, "measured")
        return [{key: getattr(twin, key) for key in keys} for twin in self.twins]


@dataclass(frozen=True)
class Statistics(Printed):
    """Counts, lengths, rate, burstiness and prefix reuse of a trace, or a twin's record."""

    about: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, Any]]

    def parts(self) -> Iterator[Part]:
        yield from (f"{key}: {text}" for key, text in self.about.items())
        for section, numbers in self.numbers.items():
            yield f"\n{section}"
            for key, value in numbers.items():
                if section != "rows" or value or "rows" in key:
                    yield f"  {key:<28}{_number(value):>14}"

    def plain(self) -> dict[str, object]:
        return {**self.about, **self.numbers}


def shipped_twins() -> TwinList:
    """Those that come with the package."""
    return TwinList([load_twin(path) for path in twin_paths().values()])


def statistics(name: str, source: Twin | Trace) -> Statistics:
    """Of a trace, or as a twin has recorded them of its own."""
    if isinstance(source, Trace):
        about = {"trace": name, "format": source.format}
        return Statistics(about, trace_summary(source))
    about = {"trace": name, "format": "twin"} | {key: getattr(source, key) for key in ABOUT}
    return Statistics(about, source.measured)


def find_twin(name: str) -> Twin | None:
    """A shipped twin, or that of a file; None for a file that is no twin."""
    if name in twin_paths():
        return load_twin(twin_paths()[name])
    path = Path(name)
    if not path.exists() and not path.suffix:
        raise InputError(f"{name}: no such file, and {why_no_twin(name)}")
    return load_twin(path) if is_twin(path) else None


def trace_written(trace: Trace, out: Path) -> str:
    """One line about a trace that was just written: what was kept, changed and left out."""
    done = [f"{key} {value:,}" for key, value in asdict(trace.counts).items() if value]
    return f"{out} written ({trace.format}): {', '.join(done)}"


def _twin_row(twin: Twin) -> list[str]:
    measured: Mapping[str, Mapping[str, Any]] = twin.measured
    rows, rate = measured["rows"]["rows_kept"], measured.get("arrivals", {}).get("rate_rps")
    sides = (measured["prompt_tokens"], measured["output_tokens"])
    lengths = (side[key] for side in sides for key in ("mean", "p99"))
    return [twin.name, *map(_number, (rows, rate, *lengths)), twin.licence]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) else number(value)


def draw_trace(trace: Trace, path: Path) -> None:
    """Draw the CDFs of both lengths, and the rate over time where there are arrivals."""
    panels = int(trace.has_lengths) + int(trace.arrival_s is not None)
    figure = Figure(figsize=(4.2 * panels, 3.0), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if trace.has_lengths:
        for name, lengths in (("prompt", trace.prompt_tokens), ("output", trace.output_tokens)):
            axes[0].plot(np.sort(lengths), np.linspace(0, 1, len(lengths)), label=name)
        axes[0].set(xscale="log", xlabel="tokens", ylabel="share of requests", ylim=(0, 1))
        axes[0].legend(frameon=False)
    if trace.arrival_s is not None:
        _rate(axes[-1], trace.arrival_s)
    for panel in axes:
        panel.grid(alpha=0.3)
    with written(path) as draft:
        figure.savefig(draft, format=path.suffix[1:].lower(), dpi=200)


def _rate(axes: Axes, times: NDArray[np.float64]) -> None:
    width = max(1.0, float(np.ceil(times[-1] / 240)))
    edges = np.arange(0, times[-1] + width, width)
    edges = edges if len(edges) > 1 else np.array([0.0, width])
    counts, _ = np.histogram(times, edges)
    axes.stairs(counts / width, edges, fill=True, alpha=0.7)
    axes.set(xlabel="time (s)", ylabel=f"requests/s in {width:g} s", ylim=(0, None))
