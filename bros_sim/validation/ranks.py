"""A profile of a mixture of experts as one of several data-parallel ranks has it."""

from dataclasses import replace

from bros_sim.core.errors import InputError
from bros_sim.latency.parameters import Layers
from bros_sim.latency.term_parameters import TokenCurve
from bros_sim.profiles.model_shape import BYTES
from bros_sim.profiles.profile import Profile


def over_ranks(profile: Profile, ranks: int) -> Profile:
    """One rank: attention and dense layers whole, its share of the experts and of their weights.

    An expert block gathers the tokens of all ranks before it and scatters their sums after it,
    which together moves what one all-reduce of these tokens does (vLLM's
    ``allgather_reducescatter``); the engine's terms ``nccl_us`` and ``nccl_gb_s`` say how fast.

    Raises:
        InputError: The profile does not say what expert blocks take apart, or how fast ranks talk.
    """
    layers, model, engine = profile.models.layers, profile.model, profile.engine
    if layers is None or layers.experts is None or engine is None:
        raise InputError(f"data_parallel_size {ranks}: {profile.id} has no expert blocks to split")
    if not engine.term("nccl_gb_s"):
        raise InputError(f"data_parallel_size {ranks}: {profile.id} states no nccl_gb_s")
    of_experts = model.bytes_of_experts(profile.dtype)
    held = model.bytes_of_weights(profile.dtype) - of_experts + of_experts // ranks
    split = replace(
        layers,
        experts=replace(layers.experts, ranks=ranks),
        all_reduce=_exchange(profile, layers, ranks),
    )
    return replace(
        profile,
        model=replace(model, weight_bytes=held),
        models=replace(profile.models, layers=split),
    )


def _exchange(profile: Profile, layers: Layers, ranks: int) -> TokenCurve:
    """Milliseconds of all blocks against the tokens of one rank, equally many on each."""
    assert profile.engine is not None
    start_s = 1e-6 * profile.engine.term("nccl_us")
    token_s = profile.model.hidden * BYTES[profile.dtype] / (1e9 * profile.engine.term("nccl_gb_s"))
    sizes = (1, layers.validity.max_tokens or layers.tokens.n[-1])
    return TokenCurve(
        sizes, tuple(1e3 * profile.model.layers * (start_s + ranks * n * token_s) for n in sizes)
    )
