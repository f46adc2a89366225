"""The server that was started: what its arguments leave open follows from version and GPU."""

from collections.abc import Callable
from dataclasses import dataclass

from bros_sim.cluster.front_end import FrontEnd
from bros_sim.core.errors import InputError
from bros_sim.core.world import World
from bros_sim.engine.async_scheduling import AsyncEngine
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.record import RunLog
from bros_sim.kv.paged import PagedKV, VllmRelease
from bros_sim.kv.parameters import PagedParameters
from bros_sim.profiles.model_shape import BYTES
from bros_sim.profiles.profile import GIB, Profile
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.schedulers.vllm_parameters import ASYNC_SINCE, VllmParameters, batch_defaults
from bros_sim.schedulers.vllm_v0 import VllmV0Parameters
from bros_sim.validation.conformance import rules_of
from bros_sim.validation.ranks import over_ranks
from bros_sim.validation.real_run import EngineArguments

NEWEST = (0, 33)
RESERVES_SINCE, WIDER_SINCE, V1_SINCE = (0, 19), (0, 21), (0, 8)
"""Releases from which full prompts are reserved, the default of ``gpu_memory_utilization`` is 0.92
(vLLM pull request 38284), and the V1 engine is the default."""


@dataclass(frozen=True)
class Server:
    """One replica of the server, ready to be made, and what had to be assumed for it."""

    make: Callable[[int, RunLog], Engine]
    front_end: FrontEnd | None
    notes: tuple[str, ...]
    lock_step: bool = False
    """Whether it is one of several data-parallel ranks that share the experts of a mixture."""


def server_of(arguments: EngineArguments, profile: Profile) -> Server:
    """The server that these arguments start on the GPU of a profile.

    Raises:
        InputError: vLLM would not start with them, or they are not those of the profile.
    """
    release, rules, notes = _release(arguments)
    ranks = arguments.get("data_parallel_size", 1)
    mixture = ranks > 1 and profile.model.experts is not None
    if mixture:
        profile = over_ranks(profile, ranks)
    longest = arguments.get("max_model_len", profile.model.max_model_len)
    if release < V1_SINCE and not arguments.get("enable_chunked_prefill", False):
        scheduler: SchedulerParameters = _v0_scheduler(arguments, longest)
    else:
        scheduler = _scheduler(arguments, profile, rules, release >= RESERVES_SINCE)
    refusals = list(scheduler.conflicts(World(longest)))
    tp = arguments.get("tensor_parallel_size", profile.tp)
    if tp != profile.tp:
        refusals.append(f"tensor_parallel_size {tp} is not that of {profile.id} ({profile.tp})")
    kv, more = _kv(arguments, profile, rules, release)
    room = (kv.num_gpu_blocks - 1) * kv.block_size
    if longest > room:
        refusals.append(
            f"max_model_len {longest} is over the KV cache of {room} tokens: vLLM does not start; "
            f"max_model_len: {room} is the most that fits"
        )
    if refusals:
        raise InputError(*(f"{arguments.file}: {refusal}" for refusal in refusals))
    latency = profile.models.by_kind()[profile.default_model].make()
    lags = arguments.get("async_scheduling", release >= ASYNC_SINCE)

    def make(number: int, log: RunLog) -> Engine:
        return (AsyncEngine if lags else Engine)(
            id=number,
            scheduler=scheduler.make(World(longest)),
            kv=PagedKV(kv),
            latency=latency,
            log=log,
            max_model_len=longest,
            estimate=Estimate(latency),
        )

    return Server(make, profile.front_end, (*notes, *more), mixture)


def _release(arguments: EngineArguments) -> tuple[tuple[int, int], VllmRelease, list[str]]:
    """The version, the known release whose rules it follows, and what is to be said of that."""
    version = arguments.vllm_version
    if version is None:
        return NEWEST, "0.33.0", [f"{arguments.file}: no vllm_version: that of 0.33.0 is assumed"]
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        what = f"vllm_version: should be like 0.19.0 (got {version!r})"
        raise InputError(f"{arguments.file}: {what}") from None
    rules, notes = rules_of(version), []
    if rules != version:
        notes.append(f"{arguments.file}: vllm_version {version} follows the rules of {rules}")
    if (major, minor) < V1_SINCE:
        chunked = arguments.get("enable_chunked_prefill", False)
        played = "chunked prefill is played by V1's rules" if chunked else "played by V0's rules"
        notes = [f"{arguments.file}: vllm_version {version} is the V0 engine: {played}"]
    return (major, minor), rules, notes


def _scheduler(
    arguments: EngineArguments, profile: Profile, rules: VllmRelease, reserves: bool
) -> VllmParameters:
    """As stated, else by the table of limits that `bros-sim run` uses."""
    tokens, seqs = batch_defaults(profile.gpu.name, profile.gpu.memory_gib)
    stated = arguments.scheduler()
    if stated.get("policy", "fcfs") not in {"fcfs", "priority"}:
        what = f"scheduling_policy: '{stated['policy']}' cannot be replayed"
        raise InputError(f"{arguments.file}: {what}")
    budget = stated.get("max_num_batched_tokens", tokens)
    limits = {"max_num_batched_tokens": budget, "max_num_seqs": min(seqs, budget)}
    chosen = limits | {"scheduler_reserve_full_isl": reserves, "version": rules} | stated
    return VllmParameters(**chosen)


def _v0_scheduler(arguments: EngineArguments, longest: int) -> SchedulerParameters:
    """The V0 engine's limits, whatever the GPU; prefix caching is off there unless asked for."""
    if arguments.get("scheduling_policy", "fcfs") != "fcfs":
        raise InputError(f"{arguments.file}: scheduling_policy: V0 is played with 'fcfs' only")
    tokens = arguments.get("max_num_batched_tokens", max(longest, 2048))
    return VllmV0Parameters(
        max_num_batched_tokens=tokens,
        max_num_seqs=arguments.get("max_num_seqs", min(256, tokens)),
    )


def _kv(
    arguments: EngineArguments, profile: Profile, rules: VllmRelease, release: tuple[int, int]
) -> tuple[PagedParameters, list[str]]:
    """Blocks as overridden, as the server's log says, else by the rule of docs/latency.md."""
    size = arguments.get("block_size", profile.kv.block_size)
    stated = arguments.get("num_gpu_blocks_override", arguments.get("num_gpu_blocks", None))
    blocks, notes = (stated, []) if stated else _derived(arguments, profile, size, release)
    caching = arguments.get("enable_prefix_caching", release >= V1_SINCE)
    return PagedParameters(blocks, size, caching, version=rules), notes


def _derived(
    arguments: EngineArguments, profile: Profile, size: int, release: tuple[int, int]
) -> tuple[int, list[str]]:
    kv, dtype = profile.kv, arguments.get("kv_cache_dtype", "auto")
    if kv.gpu_memory_utilization is None or kv.reserve_gib is None:
        what = f"{kv.num_gpu_blocks:,}, as {profile.id} states, whatever share and type"
        return kv.num_gpu_blocks, [f"{arguments.file}: num_gpu_blocks is not stated: {what}"]
    share = arguments.get("gpu_memory_utilization", 0.92 if release >= WIDER_SINCE else 0.9)
    if dtype != "auto" and not dtype.startswith("fp8") and dtype not in BYTES:
        raise InputError(f"{arguments.file}: kv_cache_dtype: '{dtype}' is not known")
    stored = "fp8" if dtype.startswith("fp8") else profile.dtype if dtype == "auto" else dtype
    per_token = profile.model.cache_bytes_per_token(profile.tp, stored)
    usable = profile.tp * (profile.gpu.memory_gib * share - kv.reserve_gib) * GIB
    blocks = int((usable - profile.weight_bytes) // (per_token * size))
    if blocks < 2:
        what = f"gpu_memory_utilization {share:g} leaves no room for a KV cache"
        raise InputError(f"{arguments.file}: {what}")
    where = f"{share:g} of the GPU's memory, {BYTES[stored]} bytes a value"
    return blocks, [f"{arguments.file}: num_gpu_blocks is not stated: {blocks:,} from {where}"]
