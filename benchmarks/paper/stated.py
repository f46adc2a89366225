"""What the BROS paper (arXiv 2504.09590v1) states, as its public digests quote it.

Nothing here is an expectation: the numbers stand beside ours and are compared with nothing.
"""

from dataclasses import dataclass

SHAREGPT, LMSYS = "sharegpt", "lmsys"
DATA = {SHAREGPT: "ShareGPT", LMSYS: "LMSYS"}
MODELS = {
    "opt-13b": "OPT-13B, 2 x A100-40GB",
    "opt-30b": "OPT-30B, 4 x A100-40GB",
    "llama-3-70b": "Llama-3-70B, 8 x A100-80GB",
}
BROS, NO_BIDIR, RR = "BROS", "BROS without bidirectional KV", "BROS-RR"
VLLM_V0, PRIORITY = "vLLM 0.2-0.4", "vLLM 0.33 priority"
SHOWN = (BROS, NO_BIDIR, RR, VLLM_V0, PRIORITY)
"""Systems in the figures; the tables have all."""
BASELINES = {"vLLM": VLLM_V0, "RR": RR}
"""The paper's name of a baseline -> the system that stands for it."""


@dataclass(frozen=True)
class Claim:
    """A row of the paper's result table: BROS over a baseline, by (lengths, baseline)."""

    name: str
    metric: str
    service_class: str
    as_change: bool
    lower_is_better: bool
    paper: dict[tuple[str, str], float]
    """The ratio BROS / baseline."""


def _by_column(*values: float) -> dict[tuple[str, str], float]:
    columns = [(data, baseline) for data in DATA for baseline in BASELINES]
    return dict(zip(columns, values, strict=True))


CLAIMS = (
    Claim(
        "RT normalized latency", "mean_normalized_latency_ms", "rt", True, True,
        _by_column(1 - 0.7420, 1 - 0.5431, 1 - 0.6961, 1 - 0.2577),
    ),
    Claim(
        "TTFT attainment", "ttft_attainment", "rt", False, False,
        _by_column(36.38, 11.75, 21.42, 14.23),
    ),
    Claim(
        "TPOT attainment", "tpot_attainment", "rt", False, False,
        _by_column(1.73, 1.47, 2.62, 2.28),
    ),
    Claim(
        "BE throughput", "request_throughput_steady", "be", True, False,
        _by_column(1 - 0.1129, 1 - 0.0880, 1 - 0.1767, 1 - 0.1518),
    ),
)  # fmt: skip
TTFT = CLAIMS[1]
ABLATION = {"ttft_attainment": 1.23, "tpot_attainment": 1.63}
PURE_RT = {"mean_normalized_latency_ms": 1 - 0.2936, "request_throughput_steady": 1.08}
