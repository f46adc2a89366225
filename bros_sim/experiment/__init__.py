"""An experiment file -> its points: every system at every point of the grid with every seed.

A point is self-contained: its resolved YAML holds every default, and its key is a hash of that and
of the contents of every file that it reads.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bros_sim.config import Document, decode
from bros_sim.config.yaml_text import yaml_text
from bros_sim.core.errors import Code, Fault, InputError
from bros_sim.experiment.build import draw_model, latency_parameters
from bros_sim.experiment.compatibility import conflicts, too_long
from bros_sim.experiment.inputs import Inputs
from bros_sim.experiment.schema import Experiment, PointSpec, System, router_of
from bros_sim.experiment.streams import Labels, StreamCheck, check_streams, warnings
from bros_sim.experiment.sweep import Sweep, variants
from bros_sim.experiment.truth import truth_of
from bros_sim.profiles.profile import Profile

VERSION = 3
"""Part of every key: raise it when a change of the simulator makes stored points wrong."""
Specs = list[tuple[Labels, Experiment]]
"""The experiment at every point of the grid."""


@dataclass(frozen=True)
class Point:
    """One run: a system at one point of the grid with one seed (or draw).

    ``contents``: file -> sha256, of each that the run depends on. ``baseline``, which
    ``be_retention`` is measured against, is the same without real-time streams; None where none is
    asked for.
    """

    labels: Labels
    spec: PointSpec
    contents: Mapping[str, str]
    baseline: "Point | None" = None

    @property
    def plain(self) -> dict[str, Any]:
        """The point as plain data, every default written out."""
        return self.spec.model_dump(mode="json", by_alias=True)

    @property
    def resolved(self) -> str:
        """The same as YAML."""
        return resolved(self.spec)

    @property
    def place(self) -> str:
        """Name of its place in the grid, the same for all systems and seeds."""
        labels = {name: v for name, v in self.labels.items() if name not in {"system", "seed"}}
        return json.dumps(labels, sort_keys=True)

    def with_seed(self, seed: int) -> "Point":
        """The same with another seed, and so its baseline."""
        spec = self.spec.model_copy(update={"seed": seed})
        baseline = self.baseline and self.baseline.with_seed(seed)
        return replace(self, labels={**self.labels, "seed": seed}, spec=spec, baseline=baseline)

    @cached_property
    def key(self) -> str:
        """Name of the folder of its result: equal for equal runs, wherever their files lie."""
        point = _by_content(self.plain, self.contents)
        content = {"version": VERSION, "point": point, "files": sorted(self.contents.values())}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def resolved(spec: PointSpec) -> str:
    """All that a run needs as YAML, every default written out: its resolved.yaml."""
    return yaml_text(spec.model_dump(mode="json", by_alias=True))


def _by_content(value: Any, contents: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _by_content(below, contents) for key, below in value.items()}
    if isinstance(value, list):
        return [_by_content(item, contents) for item in value]
    return contents.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Loaded:
    """A checked experiment: its points, and ``drawn``, those under models drawn by uncertainty."""

    spec: Experiment
    points: list[Point]
    drawn: list[Point]
    document: Document
    streams: list[StreamCheck]
    warnings: list[str]
    """One line for each stream whose requests are not what its trace or lengths say, and for each
    system whose memory is less than the model length."""

    @property
    def baselines(self) -> list[Point]:
        """The BE-only baselines of the points, each once."""
        found = (p.baseline for p in [*self.points, *self.drawn] if p.baseline)
        return list({baseline.key: baseline for baseline in found}.values())

    @property
    def all_points(self) -> list[Point]:
        """Everything to run."""
        return [*self.points, *self.drawn, *self.baselines]

    @property
    def loads(self) -> list[str]:
        """The swept rates of real-time streams."""
        streams = [name for name, s in self.spec.workload.items() if s.service_class == "rt"]
        rates = {f"workload.{name}.arrivals.rate_rps" for name in streams}
        return [axis for axis in self.points[0].labels if axis in rates]


def load(document: Document) -> Loaded:
    """Check an experiment, the values of its sweep and the files it names; lay out its points."""
    inputs = Inputs()
    sweep = _sweep(document, inputs)
    faults = dict.fromkeys(_base_faults(document, sweep, inputs))
    specs: Specs = []
    for labels, variant in variants(document, sweep):
        try:
            specs.append((labels, _decode(variant, inputs)))
        except InputError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise InputError(*faults)
    streams = check_streams(document, specs)
    if len({truth_of(spec.latency).draws for _, spec in specs}) > 1:
        what = "uncertainty and draws have to be the same at all points"
        raise InputError(document.fault(("sweep", "grid"), what))
    points, drawn = _laid_out(specs, inputs)
    if specs[0][1].outputs.be_retention:
        alone = _laid_out([(labels, _best_effort(spec)) for labels, spec in specs], inputs)
        points, drawn = map(_with_baselines, (points, drawn), alone)
        if not any(point.baseline for point in points):
            what = "no stream is of class be"
            raise InputError(document.fault(("outputs", "be_retention"), what))
    told = [*warnings(streams), *_long_models(specs, inputs)]
    return Loaded(specs[0][1], points, drawn, document, streams, told)


def _long_models(specs: Specs, inputs: Inputs) -> Iterable[str]:
    """One line for each system, about the first such point."""
    lines: dict[str, str] = {}
    for _, spec in specs:
        lines = too_long(spec, inputs.profile(spec.cluster.profile)) | lines
    return lines.values()


def _sweep(document: Document, inputs: Inputs) -> Sweep:
    if document.get(("sweep",)) is None:
        return Sweep.model_validate({})
    try:
        return decode(Sweep, document, ("sweep",))
    except InputError:
        _decode(document, inputs)  # reports the faults of the sweep together with all others
        raise


def _base_faults(document: Document, sweep: Sweep, inputs: Inputs) -> list[Fault]:
    """Faults of the file itself; only what the sweep supplies may be missing in it."""
    paths = [document.path_of(dotted) for dotted in sweep.paths]
    supplied = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
    try:
        _decode(document, inputs)
    except InputError as error:
        faults = error.faults
        return [f for f in faults if f.code is not Code.MISSING_KEY or f.path not in supplied]
    return []


def _decode(document: Document, inputs: Inputs) -> Experiment:
    document, faults = inputs.completed(document)
    try:
        spec = decode(Experiment, document)
    except InputError as error:
        raise InputError(*faults, *error.faults) from None
    faults = faults or conflicts(spec, document, inputs.profile(spec.cluster.profile))
    if faults:
        raise InputError(*faults)
    return spec


def point_spec(spec: Experiment, system: str, seed: int) -> PointSpec:
    """What one system runs with one seed; a router of its own becomes that of the cluster."""
    shared = {key: getattr(spec, key) for key in PointSpec.model_fields if key != "system"}
    chosen = spec.systems[system]
    own = {
        "latency": truth_of(spec.latency).at_a_point(),
        "seed": seed,
        "cluster": spec.cluster.model_copy(update={"router": router_of(spec, system)}),
        "system": System.model_construct(**{k: getattr(chosen, k) for k in System.model_fields}),
    }
    return PointSpec.model_construct(**{**shared, **own})


def _laid_out(specs: Specs, inputs: Inputs) -> tuple[list[Point], list[Point]]:
    """Systems x grid x seeds; and systems x grid x drawn models, written out.

    Draw d is the same model at all of them, and takes seed d modulo the number of seeds.
    """
    points, drawn = [], []
    for name in specs[0][1].systems:
        for labels, spec in specs:
            profile, contents = inputs.profile(spec.cluster.profile), inputs.contents(spec, name)
            at = {"system": name, **labels}
            for n in range(spec.sweep.seeds):
                seed = spec.seed + n
                points.append(Point({**at, "seed": seed}, point_spec(spec, name, seed), contents))
            for draw in range(1, truth_of(spec.latency).draws + 1):
                seed = spec.seed + draw % spec.sweep.seeds
                under = _drawn(spec, point_spec(spec, name, seed), draw, profile)
                drawn.append(Point({**at, "seed": seed, "draw": draw}, under, contents))
    return points, drawn


def _drawn(spec: Experiment, nominal: PointSpec, draw: int, profile: Profile) -> PointSpec:
    """The point under a drawn model; its system goes on believing in the nominal one."""
    truth, system = truth_of(spec.latency), nominal.system
    if system.estimate.latency is None:
        believed = type(latency_parameters(None, profile)) if truth.model is None else truth.model
        estimate = system.estimate.model_copy(update={"latency": believed})
        system = system.model_copy(update={"estimate": estimate})
    latency = truth.at_a_point(draw_model(truth, profile, spec.seed, draw))
    return nominal.model_copy(update={"latency": latency, "system": system})


def _with_baselines(points: list[Point], reduced: list[Point]) -> list[Point]:
    """Each point with the one that has its best-effort streams only, where it has any.

    Every stream draws from its own generators, so best-effort requests arrive as they did.
    """
    pairs = zip(points, reduced, strict=True)
    return [replace(point, baseline=one if one.spec.workload else None) for point, one in pairs]


def _best_effort(spec: Experiment) -> Experiment:
    streams = {name: s for name, s in spec.workload.items() if s.service_class == "be"}
    return spec.model_copy(update={"workload": streams})
