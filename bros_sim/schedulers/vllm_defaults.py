"""Limits that vLLM chooses by itself, where a user gives none.

V1: ``EngineArgs.get_batch_defaults`` and ``_set_default_max_num_seqs_and_batched_tokens_args`` of
vllm/engine/arg_utils.py, read in the released 0.33.0; usage context of the server (``vllm serve``;
the ``LLM`` class would have 16384, 16384 and 8192 tokens). 0.13.0 knows neither the first tier nor
the GB10 and is otherwise the same. V0: ``SchedulerConfig`` of 0.2 to 0.4.
"""

SMALL_TIER = ("a100", "gb10")
"""GPUs whose memory says more than their speed; vLLM tells a GB10 by its compute capability."""


def batch_defaults(gpu: str, memory_gib: float) -> tuple[int, int]:
    """``max_num_batched_tokens`` and ``max_num_seqs`` of a V1 server on one kind of GPU.

    ``gpu`` is the name that the driver reports and ``memory_gib`` its total memory, of one card.
    """
    if memory_gib >= 160:
        return 16384, 1024
    if memory_gib >= 70 and not any(small in gpu.lower() for small in SMALL_TIER):
        return 8192, 1024
    return 2048, 256


def v1_limits(
    gpu: str,
    memory_gib: float,
    max_model_len: int,
    *,
    tokens: int | None,
    seqs: int | None,
    chunked: bool,
) -> tuple[int, int]:
    """Both limits of V1: ``tokens`` and ``seqs`` where given, else the default made to fit.

    A default budget holds a whole prompt where prompts are not cut, and no more than the model
    length for each seat; default seats are no more than the budget.
    """
    default_tokens, default_seqs = batch_defaults(gpu, memory_gib)
    seats = default_seqs if seqs is None else seqs
    if tokens is None:
        whole = default_tokens if chunked else max(default_tokens, max_model_len)
        tokens = min(whole, seats * max_model_len)
    return tokens, min(seats, tokens) if seqs is None else seats


def v0_batched_tokens(max_model_len: int) -> int:
    """``max_num_batched_tokens`` of vLLM 0.2 to 0.4; ``max_num_seqs`` was 256 everywhere."""
    return max(max_model_len, 2048)
