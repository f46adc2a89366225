"""A real run against its replay, in tables and as a figure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bros_sim.profiles.profile import load_profile
from bros_sim.report.figure_files import write_figure
from bros_sim.report.tables import Part, Printed, Table, records
from bros_sim.validation.compare import Comparison, compare
from bros_sim.validation.figure import draw
from bros_sim.validation.real_run import read_arguments, read_requests
from bros_sim.validation.replay import AS_STATED, Setup, replay
from bros_sim.validation.server import server_of

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}


@dataclass(frozen=True)
class Validation(Printed):
    """A replay beside the real run; ``notes``: what it makes of the engine's arguments."""

    comparison: Comparison
    profile: str
    notes: tuple[str, ...]

    @property
    def metrics(self) -> pd.DataFrame:
        """``metric``, ``statistic``, ``real`` and ``simulated`` (ms), ``error_pct``."""
        return pd.DataFrame(
            {"metric": metric, "statistic": statistic, **found}
            for metric, statistics in self.comparison.metrics.items()
            for statistic, found in statistics.items()
        )

    @property
    def requests(self) -> pd.DataFrame:
        """A row for each request: real and simulated latencies in ms."""
        return self.comparison.requests

    @property
    def throughput(self) -> pd.DataFrame:
        """``time_s``, ``real`` and ``simulated`` tokens/s."""
        return self.comparison.throughput

    def parts(self) -> Iterator[Part]:
        found = self.comparison
        rows = [
            [f"{NAMES[row['metric']]} {row['statistic']}", f"{row['real']:,.1f}",
             f"{row['simulated']:,.1f}", f"{row['error_pct']:+.1f}"]
            for row in records(self.metrics)
        ]  # fmt: skip
        yield Table(["", "real ms", "simulated ms", "error %"], rows)
        bins = [
            [f"{row['time_s']:.0f}", f"{row['real']:,.0f}", f"{row['simulated']:,.0f}"]
            for row in records(found.throughput)
        ]
        yield Table(["from s", "real tokens/s", "simulated"], bins)
        errors = ", ".join(f"{NAMES[k]} {v:.1f} %" for k, v in found.request_error_pct.items())
        yield f"single requests, mean absolute error: {errors}"
        ends = f"{found.real_s:.1f} s real, {found.simulated_s:.1f} s simulated"
        yield f"last token after {ends}; {found.preemptions} preemptions simulated"

    def plain(self) -> dict[str, object]:
        found = self.comparison
        return {
            "metrics": _known(dict(found.metrics)),
            "request_error_pct": _known(dict(found.request_error_pct)),
            "throughput": found.throughput.to_dict("list"),
            "makespan_s": {"real": found.real_s, "simulated": found.simulated_s},
            "num_preemptions": found.preemptions,
        }

    def write_figure(self, folder: Path) -> None:
        """Write validation.png and .svg there."""
        write_figure(folder, "validation", draw(self.comparison, self.profile))


def validate(
    requests: str | Path, profile: str, engine_args: str | Path, setup: Setup = AS_STATED
) -> Validation:
    """Replay a real run of vLLM and compare; ``setup``: how it was made beside the engine.

    An `InputError` says which file cannot be read or is at fault, or what never finishes.
    """
    real, arguments = read_requests(Path(requests)), read_arguments(Path(engine_args))
    gpu = load_profile(profile)
    notes = (*arguments.notes, *server_of(arguments, gpu).notes)
    return Validation(compare(real, replay(real, arguments, gpu, setup)), gpu.id, notes)


def _known(value: object) -> object:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
