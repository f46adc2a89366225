"""A resolved point -> components -> a cluster -> the tables of its run."""

import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bros_sim.cluster.cluster import Pool, simulate
from bros_sim.config import decode, parse
from bros_sim.core.errors import InputError
from bros_sim.core.world import World
from bros_sim.engine.decision_log import DecisionLog
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.latency_model import LatencyModel
from bros_sim.engine.noise import StepNoise
from bros_sim.engine.record import RunLog
from bros_sim.experiment import schema
from bros_sim.experiment.truth import Model, Truth, truth_of
from bros_sim.latency.term_parameters import LatencyParameters
from bros_sim.metrics.tables import RunTables, run_tables
from bros_sim.profiles.profile import Profile, load_profile, profile_path
from bros_sim.workload.prompts import shareable
from bros_sim.workload.streams import ClosedLoop, OpenLoop, Stream, build


def read_point(resolved: str) -> schema.PointSpec:
    """A point from its resolved YAML."""
    return decode(schema.PointSpec, parse(resolved, "resolved.yaml"))


def run_point(spec: schema.PointSpec, *, decisions: bool = False) -> RunTables:
    """Simulate one point, with a decision log if asked for."""
    profile = profile_of(spec)
    world = world_of(spec, profile)
    record = simulate(
        pools=[_pool(spec, profile, world)],
        router=spec.cluster.router.make(world),
        sources=[_source(stream_of(name, spec), spec) for name in spec.workload],
        log=RunLog(decisions=DecisionLog() if decisions else None),
        duration_s=spec.duration_s,
        drain_s=spec.drain_s,
    )
    return run_tables(record)


def _pool(spec: schema.PointSpec, profile: Profile, world: World) -> Pool:
    truth = truth_of(spec.latency)
    latency = latency_parameters(truth.model, profile).make()

    def make(number: int, log: RunLog) -> Engine:
        return Engine(
            id=number,
            scheduler=spec.system.scheduler.make(world),
            kv=spec.system.kv.make(world),
            latency=latency,
            log=log,
            max_model_len=world.max_model_len,
            estimate=estimate_of(spec, profile, latency),
            link=profile.host,
            token_bytes=profile.kv_bytes_per_token,
            noise=noise_of(truth, profile, spec.seed, number),
        )

    return Pool(spec.cluster.replicas, make, "cluster", profile.id)


def _source(stream: Stream, spec: schema.PointSpec) -> OpenLoop | ClosedLoop:
    """The requests of a stream; block objects are for prefixes that are shared, most are not."""
    made = build(stream, spec.seed, spec.duration_s)
    return replace(made, requests=shareable(made.requests)) if isinstance(made, OpenLoop) else made


def world_of(spec: schema.Run, profile: Profile) -> World:
    """What the experiment and its profile say to the components of a run."""
    longest, blocks = spec.cluster.max_model_len, spec.cluster.num_gpu_blocks
    world = profile_world(profile, longest, blocks)
    return replace(world, replicas=spec.cluster.replicas, seed=spec.seed)


def profile_world(profile: Profile, max_model_len: int | None, blocks: int | None) -> World:
    """The world of any run on that profile, with one replica."""
    return World(
        num_gpu_blocks=blocks,
        max_model_len=max_model_len or profile.model.max_model_len,
        profile=profile.id,
        gpu=profile.gpu.name,
        gpu_memory_gib=profile.gpu.memory_gib,
        weight_bytes=profile.weight_bytes,
        kv_bytes_per_token=profile.kv_bytes_per_token,
        profile_blocks=profile.kv.num_gpu_blocks,
        profile_block_size=profile.kv.block_size,
        host_kv_gib=profile.host.kv_gib if profile.host else None,
    )


def profile_of(spec: schema.Run) -> Profile:
    """The profile of a run, parsed once for each content of its file."""
    path = profile_path(spec.cluster.profile)
    return _profile(path, path.read_bytes())


@lru_cache(maxsize=8)
def _profile(path: Path, content: bytes) -> Profile:
    del content
    return load_profile(path)


def estimate_of(spec: schema.PointSpec, profile: Profile, latency: LatencyModel) -> Estimate:
    """What the scheduler believes: the truth, unless the YAML says otherwise."""
    belief = spec.system.estimate
    if belief.latency is not None:
        latency = latency_parameters(belief.latency, profile).make()
    share, token_bytes = spec.system.scheduler.overhead_share, profile.kv_bytes_per_token
    bias, noise = belief.bias, belief.noise
    return Estimate(latency, profile.host, token_bytes, share, bias, noise, spec.seed)


def latency_parameters(written: Model, profile: Profile) -> LatencyParameters:
    """Those that the experiment writes out, or the profile's: of the kind it names, or default."""
    if written is None:
        return profile.models.by_kind()[profile.default_model]
    return profile.coefficients(written) if isinstance(written, type) else written


def noise_of(truth: Truth, profile: Profile, seed: int, replica: int = 0) -> StepNoise | None:
    """The scatter of a replica's iterations, if there is any."""
    if not truth.options.noise:
        return None
    kind = kind_of(truth.model, profile)
    stated = profile.errors[kind].quantiles_pct if kind else {}
    if not stated:
        what = f"of its model '{kind}'" if kind else "of that model"
        raise InputError(f"profile {profile.id} states no residuals {what} (errors: quantiles_pct)")
    return StepNoise(stated, seed, replica)


def draw_model(truth: Truth, profile: Profile, seed: int, draw: int) -> LatencyParameters:
    """The ``draw``-th model that the profile's uncertainty gives, the same under every system."""
    kind = kind_of(truth.model, profile)
    if truth.model is not None and not isinstance(truth.model, type):
        raise InputError("the coefficients are written out: only of a profile's own it is known")
    if kind not in profile.uncertainty:
        raise InputError(f"profile {profile.id} states none of its model '{kind}'")
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"latency draw"), draw))
    model = latency_parameters(truth.model, profile)
    return profile.uncertainty[kind].draw(model, np.random.default_rng(sequence))


def kind_of(model: Model, profile: Profile) -> str:
    """The key of a model, or of one like it, under the profile's ``models``; empty if none is."""
    if model is None:
        return profile.default_model
    cls = model if isinstance(model, type) else type(model)
    kinds = profile.models.by_kind().items()
    return next((kind for kind, known in kinds if isinstance(known, cls)), "")


def stream_of(name: str, spec: schema.Run) -> Stream:
    """A stream of the YAML as the workload package knows it."""
    given = {key: getattr(spec.workload[name], key) for key in schema.Stream.model_fields}
    return Stream(name, **given, max_model_len=cut_to(spec))


def cut_to(spec: schema.Run) -> int | None:
    """The model length, if outputs are cut to it."""
    return model_len(spec) if spec.cluster.over_model_len == "cut" else None


def model_len(spec: schema.Run) -> int:
    """Most tokens of prompt and output."""
    return spec.cluster.max_model_len or profile_of(spec).model.max_model_len


def facts(spec: schema.PointSpec) -> dict[str, str]:
    """What a result says about itself: the engine that is mirrored, and where times come from."""
    profile = profile_of(spec)
    model = latency_parameters(truth_of(spec.latency).model, profile)
    scheduler, router = spec.system.scheduler.mirrors, spec.cluster.router.mirrors
    return {
        "mirrors": f"{router}, over {scheduler}" if router else str(scheduler),
        "profile": profile.id,
        "profile_label": profile.label,
        "latency_model": type(model).__name__.lower(),
    }
