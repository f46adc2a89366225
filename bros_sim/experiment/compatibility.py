"""Whether profile and components go together, and with the experiment."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from bros_sim.config import Document, PathKey
from bros_sim.core.errors import Fault, InputError
from bros_sim.core.world import Parameters, World
from bros_sim.engine.latency_model import StepShape
from bros_sim.experiment.build import draw_model, latency_parameters, noise_of, world_of
from bros_sim.experiment.schema import Experiment, System
from bros_sim.experiment.truth import Model, truth_of
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.term_parameters import LatencyParameters
from bros_sim.profiles.profile import Profile
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.schedulers.vllm_v0 import VllmV0Parameters

LEAST_STEP_S = 1e-6
CHEAPEST = {
    "one decode with one token in the cache": StepShape((), 1, 1),
    "one prefill chunk of one token": StepShape(((1, 0),), 0, 0),
}
"""Iterations below which none can be; if they take no time, simulated time stands still."""


def conflicts(spec: Experiment, document: Document, profile: Profile) -> list[Fault]:
    """What the profile cannot give, what takes no time, and what a component cannot serve."""
    models = _models(spec)
    needed = (((*at, "kind"), partial(latency_parameters, it, profile)) for at, it in models)
    faults = _failing(document, needed) or _failing(document, _stated(spec, profile))
    faults = faults or [*_too_fast(spec, document, profile)]
    return [*faults, *_refusals(spec, document, profile)]


Checks = Iterable[tuple[PathKey, Callable[[], object]]]
"""Places of the document, and what raises an InputError if they ask for too much."""


def _failing(document: Document, checks: Checks) -> list[Fault]:
    faults = []
    for place, check in checks:
        try:
            check()
        except InputError as error:
            faults += document.faults(place, error)
    return faults


def _stated(spec: Experiment, profile: Profile) -> Checks:
    """What the profile has to say about the error of its model, if the truth asks for it."""
    truth = truth_of(spec.latency)
    yield ("latency", "noise"), partial(noise_of, truth, profile, spec.seed)
    if truth.draws:
        yield ("latency", "uncertainty"), partial(draw_model, truth, profile, spec.seed, 1)


def _models(spec: Experiment) -> Iterator[tuple[PathKey, Model]]:
    yield ("latency",), truth_of(spec.latency).model
    for name, system in spec.systems.items():
        if system.estimate.latency is not None:
            yield ("systems", name, "estimate", "latency"), system.estimate.latency


def _refusals(spec: Experiment, document: Document, profile: Profile) -> Iterator[Fault]:
    """What a component cannot do in this experiment, by its own account."""
    world = world_of(spec, profile)
    parts: list[tuple[PathKey, Parameters]] = [(("cluster", "router"), spec.cluster.router)]
    for name, system in spec.systems.items():
        place: PathKey = ("systems", name)
        parts += [((*place, "scheduler"), system.scheduler), ((*place, "kv"), system.kv)]
        if system.router is not None:
            parts.append(((*place, "router"), system.router))
        if system.scheduler.needs_reserving_kv and not system.kv.reserves:
            why = "the scheduler never preempts: it needs a KV manager that reserves, as `reserved`"
            yield document.fault((*place, "kv"), why)
        if _is_vllm(system) and (why := _too_long(system, world)):
            yield document.fault((*place, "kv"), why)
    for place, part in parts:
        yield from (document.fault(place, why) for why in part.conflicts(world))


def too_long(spec: Experiment, profile: Profile) -> dict[str, str]:
    """System -> a warning that vLLM would not start with its memory; of vLLM itself it is a fault.

    Source of the rule: ``check_enough_kv_cache_memory``, vllm/v1/core/kv_cache_utils.py.
    """
    world = world_of(spec, profile)
    found = {name: _too_long(system, world) for name, system in spec.systems.items()}
    return {name: f"systems.{name}: {why}" for name, why in found.items() if why}


def _is_vllm(system: System) -> bool:
    schedules = isinstance(system.scheduler, VllmParameters | VllmV0Parameters)
    return schedules and type(system.kv) is PagedParameters


def _too_long(system: System, world: World) -> str:
    slots = system.kv.slots(world)
    if world.max_model_len <= slots:
        return ""
    return (
        f"the model length {world.max_model_len:,} is over the KV cache of {slots:,} tokens, with"
        f" which vLLM does not start: set cluster.max_model_len to at most {slots:,}"
    )


def _too_fast(spec: Experiment, document: Document, profile: Profile) -> Iterator[Fault]:
    """An iteration that takes no time: a closed loop would never end."""
    truth = truth_of(spec.latency)
    models: list[tuple[PathKey, LatencyParameters]] = []
    for place, written in _models(spec):
        own = written is not None and not isinstance(written, type)
        at = place if own else ("cluster", "profile")
        models.append((at, latency_parameters(written, profile)))
    for draw in range(1, truth.draws + 1):
        model = draw_model(truth, profile, spec.seed, draw)
        models.append((("latency", "uncertainty"), model))
    yield from (document.fault(at, why) for at, model in models if (why := _stands_still(model)))


def _stands_still(model: LatencyParameters) -> str:
    """The first iteration that is too short, or fails."""
    for what, shape in CHEAPEST.items():
        try:
            seconds = float(model.make().step_s(shape))
        except Exception as error:  # a user's model may fail in any way
            return f"step_s fails: {type(error).__name__}: {error}"
        if not seconds >= LEAST_STEP_S:
            return f"an iteration would take {seconds:g} s: {what}; the least is {LEAST_STEP_S:g} s"
    return ""
