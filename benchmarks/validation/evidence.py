"""Other measurements of real engines against the shipped profiles."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.engine.latency_model import StepShape
from bros_sim.profiles.profile import load_profile

BLOCK = 16
BLIS = "blis/vllm_h100_llama2_70b_tp4_general_steps.csv.gz"
SPLITWISE = "splitwise/llama2_70b_e2e.csv.gz"
PEAK_TFLOPS = 312.0


def blis_iterations(profiles: Path) -> Iterator[list[str]]:
    """Iterations of vLLM 0.15.1 (H100, Llama-2-70B TP4), timed from one to the next."""
    table = pd.read_csv(profiles / BLIS).sort_values(["experiment_id", "step.id"])
    table["real_ms"] = -table["step.ts_start_ns"].diff(-1) / 1e6
    consecutive = table["step.id"].diff(-1) == -1
    consecutive &= table["experiment_id"] == table["experiment_id"].shift(-1)
    table = table[consecutive & table["real_ms"].between(1, 1000)]
    profile = load_profile("h100-80gb/llama-2-70b-tp4")
    model = profile.models.by_kind()[profile.default_model]
    predicted = np.array([1e3 * model.step_s(_shape(row)) for row in table.to_dict("records")])
    error = predicted / table["real_ms"].to_numpy() - 1
    prefill, decodes = table["batch.num_prefill_reqs"] > 0, table["batch.num_decode_reqs"] > 0
    whole = table["batch.prefill_tokens"] > table["batch.num_prefill_reqs"] * 64
    yield _line(
        "decode only (the engine overhead of these profiles is fitted to them)",
        error[~prefill & decodes],
    )
    yield _line(
        "with prefill, at most 64 tokens a request (prefix cache hits)", error[prefill & ~whole]
    )
    yield _line("with prefill, more than 64 tokens a request", error[prefill & whole])


def _shape(row: dict[str, float]) -> StepShape:
    """KV of the decodes: their share of the used blocks, each half a block short."""
    requests, decodes = int(row["batch.num_prefill_reqs"]), int(row["batch.num_decode_reqs"])
    used = row["kv.blocks_total_gpu"] - row["kv.blocks_free_gpu"]
    kv = used * BLOCK * decodes / max(1, decodes + requests) - decodes * BLOCK / 2
    tokens = int(row["batch.prefill_tokens"])
    chunks = tuple((max(1, tokens // requests), 0) for _ in range(requests)) if requests else ()
    return StepShape(chunks, decodes, max(decodes, int(kv)))


def _line(what: str, error: np.ndarray) -> list[str]:
    if not len(error):
        return [what, "0", "-", "-"]
    return [
        what,
        f"{len(error):,}",
        f"{100 * np.median(error):+.1f}",
        f"{100 * np.abs(error).mean():.1f}",
    ]


def splitwise_rows(profiles: Path) -> Iterator[list[str]]:
    """End-to-end times of vLLM 2023 over those of the kernel-calibrated profiles."""
    table = pd.read_csv(profiles / SPLITWISE)
    keys = ["hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size"]
    table = table.groupby(keys, as_index=False)[["prompt_time", "token_time"]].median()
    for (gpu, tp), cells in table.groupby(["hardware", "tensor_parallel"]):
        name = f"{gpu}/llama-2-70b-tp{tp}"
        if (gpu, tp) not in {
            ("a100-80gb", 4),
            ("a100-80gb", 8),
            ("h100-80gb", 4),
            ("h100-80gb", 8),
        }:
            continue
        model = load_profile(name).models.by_kind()["hybrid"]
        ratios = []
        for p, b, n, prompt, token in cells[
            ["prompt_size", "batch_size", "token_size", "prompt_time", "token_time"]
        ].itertuples(index=False):
            decode = StepShape((), int(b), int(b * (p + n / 2)))
            prefill = StepShape(((int(p), 0),) * int(b), 0, 0)
            ratios.append(
                (prompt / model.step_s(prefill) / 1e3, token / model.step_s(decode) / 1e3)
            )
        found = np.array(ratios)
        spans = [f"{np.median(c):.2f} ({c.min():.2f} to {c.max():.2f})" for c in found.T]
        yield [name, f"{len(found)}", *spans]


def opt_rows() -> Iterator[list[str]]:
    """The published fits against what the hardware allows: weights read once, peak of the units."""
    for name in ("a100-80gb/opt-13b-tp1", "a100-80gb/opt-66b-tp4"):
        profile = load_profile(name)
        model = profile.models.by_kind()["linear"]
        weights = 2 * profile.model.parameters / profile.tp
        read_ms = weights / profile.gpu.bandwidth_gb_s / 1e6
        compute_ms = weights * 1024 / PEAK_TFLOPS / 1e9
        decode = 1e3 * model.step_s(StepShape((), 1, 512))
        prefill = 1e3 * model.step_s(StepShape(((1024, 0),), 0, 0))
        yield [
            name,
            f"{decode:.1f}",
            f"{decode / read_ms:.2f}",
            f"{prefill:.0f}",
            f"{prefill / compute_ms:.2f}",
        ]
