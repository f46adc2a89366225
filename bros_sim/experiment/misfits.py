"""What an experiment asks for and its profile or a policy cannot give."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bros_sim.config import Document, PathKey
from bros_sim.core.errors import Fault, InputError
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.latency_model import LatencyModel, StepShape
from bros_sim.experiment.build import draw_model, latency_model, noise_of
from bros_sim.experiment.schema import Experiment
from bros_sim.experiment.truth import Model, truth_of
from bros_sim.kv.eager_checkpoint import EagerCheckpointKV
from bros_sim.kv.kunserve_like import KunserveLikeKV
from bros_sim.kv.paged import PagedKV
from bros_sim.profiles.profile import Profile
from bros_sim.schedulers import NEVER_PREEMPT

LEAST_STEP_S = 1e-6
CHEAPEST = {
    "one decode with one token in the cache": StepShape((), 1, 1),
    "one prefill chunk of one token": StepShape(((1, 0),), 0, 0),
}
"""Iterations below which none can be; if they take no time, simulated time stands still."""


def misfits(spec: Experiment, document: Document, profile: Profile) -> list[Fault]:
    """What the profile cannot give, what takes no time, and what a policy cannot serve."""
    faults = _lacking(spec, document, profile) or _unstated(spec, document, profile)
    faults = faults or _too_fast(spec, document, profile)
    return [*faults, *_refusals(spec, document, profile)]


def _lacking(spec: Experiment, document: Document, profile: Profile) -> list[Fault]:
    """What the profile cannot give."""
    faults = []
    for place, written in _models(spec):
        try:
            latency_model(written, profile)
        except InputError as error:
            faults += [document.fault((*place, "kind"), line) for line in error.lines]
    return faults


def _unstated(spec: Experiment, document: Document, profile: Profile) -> list[Fault]:
    """What the profile does not say about the error of its model, and the truth asks for."""
    truth = truth_of(spec.latency)
    asked: dict[str, Callable[[], object]] = {"noise": partial(noise_of, truth, profile, spec.seed)}
    if truth.draws:
        asked["uncertainty"] = partial(draw_model, truth, profile, spec.seed, 1)
    faults = []
    for key, check in asked.items():
        try:
            check()
        except InputError as error:
            faults += [document.fault(("latency", key), line) for line in error.lines]
    return faults


def _models(spec: Experiment) -> Iterator[tuple[PathKey, Model]]:
    """Where a latency model is chosen, and which: the truth, and what systems believe."""
    yield ("latency",), truth_of(spec.latency).model
    for name, system in spec.systems.items():
        if system.estimate.latency is not None:
            yield ("systems", name, "estimate", "latency"), system.estimate.latency


def _refusals(spec: Experiment, document: Document, profile: Profile) -> Iterator[Fault]:
    """What a policy cannot serve."""
    max_model_len = spec.cluster.max_model_len or profile.model.max_model_len
    for name, system in spec.systems.items():
        why = system.scheduler.refuses(max_model_len)
        if why:
            yield document.fault(("systems", name, "scheduler"), why)
        if isinstance(system.scheduler, NEVER_PREEMPT) and not system.kv.reserves:
            why = "the scheduler never preempts: it needs a KV manager that reserves, as `reserved`"
            yield document.fault(("systems", name, "kv"), why)
        if why := _lacks(system.kv, spec.cluster.replicas):
            yield document.fault(("systems", name, "kv"), why)
        copies = system.kv.can_lend or isinstance(system.kv, EagerCheckpointKV)
        if copies and profile.host is None:
            why = f"profile {profile.id} has no `host`: what copies to the CPU cost is not known"
            yield document.fault(("systems", name, "kv"), why)
    routers: dict[PathKey, Any] = {("cluster", "router"): spec.cluster.router}
    routers |= {("systems", name, "router"): system.router for name, system in spec.systems.items()}
    for place, router in routers.items():
        why = router.refuses(spec.cluster.replicas) if router is not None else None
        if why:
            yield document.fault(place, why)


def _lacks(kv: KVManager, replicas: int) -> str | None:
    """What an option of a KV manager needs and does not find."""
    if isinstance(kv, PagedKV) and kv.relay_attention and not kv.enable_prefix_caching:
        return "relay_attention needs enable_prefix_caching: else every request has its own copy"
    if isinstance(kv, KunserveLikeKV) and replicas % kv.group:
        return f"{replicas} replicas are no whole groups of {kv.group}"
    return None


def _too_fast(spec: Experiment, document: Document, profile: Profile) -> list[Fault]:
    """An iteration that takes no time: a closed loop would never end."""
    faults = []
    for place, written in _models(spec):
        own = written is not None and not isinstance(written, type)
        at = place if own else ("cluster", "profile")
        faults += _too_fast_a_model(latency_model(written, profile), document, at)
    truth = truth_of(spec.latency)
    for draw in range(1, truth.draws + 1):
        model = draw_model(truth, profile, spec.seed, draw)
        faults += _too_fast_a_model(model, document, ("latency", "uncertainty"))
    return faults


def _too_fast_a_model(model: LatencyModel, document: Document, place: PathKey) -> list[Fault]:
    for what, shape in CHEAPEST.items():
        try:
            seconds = float(model.step_s(shape))
        except Exception as error:  # a user's model may fail in any way
            return [document.fault(place, f"step_s fails: {type(error).__name__}: {error}")]
        if not seconds >= LEAST_STEP_S:
            why = f"an iteration would take {seconds:g} s: {what}; the least is {LEAST_STEP_S:g} s"
            return [document.fault(place, why)]
    return []
