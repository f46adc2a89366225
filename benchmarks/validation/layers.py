"""What was chosen on one run of a layer-calibrated profile, judged on all three of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.validation.replays import Run, row, worst
from bros_sim.calibration.layerwise_profile import fit_layers, site_tables
from bros_sim.profiles.profile import Engine, EngineTerm, Profile, load_profile
from bros_sim.validation.compare import METRICS, Comparison
from bros_sim.validation.real_run import read_arguments, read_requests

FIRST = "rtxpro6000/llama-3.1-8b-tp1"
IDS = (FIRST, "rtx4090/llama-3.1-8b-tp1", "rtxpro6000/qwen3-32b-tp2")
TABLES, RUNS = "profiles/vllm_0.19_layerwise", "real_runs"
EAGER_SHARE = 0.065
"""``eager_ms_per_token`` as a share of the dense layers' slope, as the first run gave it."""
CHOICES = tuple(product((True, False), repeat=2))
"""With or without the eager terms, and with or without ``graph_gemm_ms``."""


@dataclass(frozen=True)
class LayerRun:
    """A run, its shipped profile, and the folder of the profile's tables."""

    run: Run
    folder: Path

    def chosen(self, eager: bool, shift: bool) -> Comparison:
        """The replay with the first run's terms carried over to this profile, or without them."""
        profile = self.run.profile
        assert profile.engine is not None
        engine = replace(profile.engine, terms=dict(profile.engine.terms))
        tables = site_tables(self.folder, profile.model, engine)
        first = load_profile(FIRST)
        assert first.engine is not None
        blocks = profile.model.layers / first.model.layers
        dense = tables.tokens().make()
        slope = (dense.at(2048) - dense.at(256)) / (2048 - 256)
        values = {
            "eager_ms": blocks * first.engine.term("eager_ms") * eager,
            "eager_ms_per_token": EAGER_SHARE * slope * eager,
            "graph_gemm_ms": blocks * first.engine.term("graph_gemm_ms") * shift,
        }
        layers = fit_layers(tables, profile.model, profile.tp, _with(engine, values))
        models = replace(profile.models, layers=layers)
        return self.run.compared(replace(profile, models=models))


def _with(engine: Engine, values: dict[str, float]) -> Engine:
    terms = {name: EngineTerm(value, "carried over") for name, value in values.items()}
    return replace(engine, terms={**engine.terms, **terms})


def read_run(data: Path, name: str) -> LayerRun:
    """The run of a profile in the folders of `data`."""
    folder = name.replace("/", "_").replace("-tp", "_tp")
    run = data / RUNS / folder
    arguments = read_arguments(run / "meta.json")
    profile: Profile = load_profile(name)
    requests = read_requests(run / "requests.csv.gz")
    return LayerRun(Run(requests, arguments, profile), data / TABLES / folder)


def layer_runs(data: Path) -> Iterator[list[str]]:
    """For each run: as shipped, and with the choice that is best on the two other runs.

    The terms that belong to a run's machine (``site_factor``, the all-reduce) stay as shipped.
    """
    runs = {name: read_run(data, name) for name in IDS}
    found = {
        name: {choice: run.chosen(*choice) for choice in CHOICES} for name, run in runs.items()
    }
    for name, run in runs.items():
        others = [found[other] for other in IDS if other != name]
        best = min(CHOICES, key=partial(_off, others))
        yield row(f"{name}, as shipped", run.run.compared())
        eager, shift = ("with" if on else "without" for on in best)
        label = f"{name}, left out: {eager} eager terms, {shift} graph_gemm_ms"
        yield row(label, found[name][best])


def _off(runs: list[dict[tuple[bool, ...], Comparison]], choice: tuple[bool, ...]) -> float:
    """How far the means of several runs are off: root mean square, in percent."""
    errors = [worst(run[choice], metric)[0] for run in runs for metric in METRICS]
    return float(np.sqrt(np.mean(np.square(errors))))
