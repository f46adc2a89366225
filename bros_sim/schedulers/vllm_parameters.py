"""What YAML sets of vLLM's V1 scheduler, and the limits that its server chooses by the GPU.

Limits: ``EngineArgs.get_batch_defaults`` and ``_set_default_max_num_seqs_and_batched_tokens_args``
of vllm/engine/arg_utils.py, read in the released 0.33.0 (the ``LLM`` class would have 16384, 16384
and 8192 tokens). 0.13.0 knows neither the first tier nor the GB10 and is otherwise the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge

from bros_sim.core.world import Given, Supplied, World
from bros_sim.kv.paged import VllmRelease
from bros_sim.schedulers.parameters import Count, SchedulerParameters, Watermark, too_few
from bros_sim.schedulers.vllm import VllmScheduler

ASYNC_SINCE = (0, 14)
"""Release from which scheduling is asynchronous by default (vLLM's release notes of 0.14.0)."""
SMALL_TIER = ("a100", "gb10")
"""GPUs whose memory says more than their speed; vLLM tells a GB10 by its compute capability."""


def batch_defaults(gpu: str, memory_gib: float) -> tuple[int, int]:
    """``max_num_batched_tokens`` and ``max_num_seqs`` of a V1 server on one kind of GPU.

    ``gpu`` is the driver's name, ``memory_gib`` the total memory of one card.
    """
    if memory_gib >= 160:
        return 16384, 1024
    if memory_gib >= 70 and not any(small in gpu.lower() for small in SMALL_TIER):
        return 8192, 1024
    return 2048, 256


def _tokens(world: World, given: Given) -> int:
    """The default, but no more than the model length for each seat."""
    tokens, seqs = batch_defaults(world.gpu, world.gpu_memory_gib)
    if given.written.get("enable_chunked_prefill") is False:
        tokens = max(tokens, world.max_model_len)
    return min(tokens, (given.number("max_num_seqs") or seqs) * world.max_model_len)


def _whole_prompt_tokens(world: World, given: Given) -> int:
    return _tokens(world, Given({**given.written, "enable_chunked_prefill": False}, {}))


def _seqs(world: World, given: Given) -> int:
    """The default, but no more than the budget that is written."""
    _, seqs = batch_defaults(world.gpu, world.gpu_memory_gib)
    return min(seqs, given.number("max_num_batched_tokens") or seqs)


TOKENS_SOURCE = "2048 on an A100 or below 70 GiB, else 8192, from 160 GiB 16384"
Tokens = Annotated[Count, Supplied(TOKENS_SOURCE, _tokens)]
"""``max_num_batched_tokens`` as vLLM's server chooses it: for its rivals too, like with like."""
WholePromptTokens = Annotated[Count, Supplied(TOKENS_SOURCE, _whole_prompt_tokens)]
"""The same for schedulers that never cut a prompt."""
Seqs = Annotated[Count, Supplied("256 on an A100 or below 70 GiB, else 1024", _seqs)]
"""``max_num_seqs`` as vLLM's server chooses it."""


@dataclass(frozen=True)
class VllmParameters(SchedulerParameters):
    """vLLM V1: FCFS or static priority, chunked prefill, preemption by recompute.

    Defaults are those of vLLM 0.33.0, token and seat limits those for a GPU that it does not know.
    """

    makes = VllmScheduler

    policy: Annotated[
        Literal["fcfs", "priority"], Doc("order of waiting requests and choice of the victim")
    ] = "fcfs"
    max_num_batched_tokens: Annotated[Tokens, Doc("token budget of an iteration")] = 2048
    max_num_seqs: Annotated[Seqs, Doc("most requests that run at a time")] = 256
    enable_chunked_prefill: Annotated[
        bool, Doc("cut a prompt to the remaining budget instead of waiting for room")
    ] = True
    long_prefill_token_threshold: Annotated[
        int, Ge(0), Doc("most tokens of one prompt in an iteration; 0 = no limit")
    ] = 0
    scheduler_reserve_full_isl: Annotated[
        bool, Doc("admit only when all known tokens of a request fit, not just the first chunk")
    ] = True
    watermark: Watermark = 0.0
    version: Annotated[VllmRelease, Doc("vLLM release whose rules are mirrored")] = "0.33.0"

    @property
    def mirrors(self) -> str:
        return f"vLLM {self.version} V1 scheduler ({self.policy})"

    @property
    def plans_ahead(self) -> bool:
        major, minor, _ = map(int, self.version.split("."))
        return (major, minor) >= ASYNC_SINCE

    def conflicts(self, world: World) -> tuple[str, ...]:
        """What vLLM's own configuration check refuses."""
        budget = self.max_num_batched_tokens
        if found := too_few("max_num_batched_tokens", budget, self.max_num_seqs):
            return found
        threshold, length = self.long_prefill_token_threshold, world.max_model_len
        if threshold > length:
            return (f"long_prefill_token_threshold {threshold} is over the model length {length}",)
        if self.enable_chunked_prefill or budget >= length:
            return ()
        return (
            f"max_num_batched_tokens {budget} is below the model length {length}:"
            " without chunked prefill such a prompt could never run",
        )
