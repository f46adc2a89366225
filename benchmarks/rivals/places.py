"""Where the policies of experiments/rivals.yaml are compared: machines, workloads, loads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LOADS = ("light", "near saturation", "overload")
"""What the three RT rates of a place are called, from the lowest to the highest."""
CHAT, SUMMARIES = "chat", "summaries"
WORKLOADS = {
    CHAT: "ShareGPT chat beside the BROS paper's BE",
    SUMMARIES: "Azure conversations beside arXiv summaries",
}


@dataclass(frozen=True)
class Place:
    """A machine with a workload, and the RT rates that are light, near saturation and overload.

    ``changes`` are the `--set` of its run, besides name, profile and rates.
    """

    name: str
    machine: str
    profile: str
    workload: str
    rates: tuple[float, float, float]
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Machine and workload."""
        return f"{self.machine}: {WORKLOADS[self.workload]}"

    @property
    def settings(self) -> dict[str, str]:
        """Path -> value of everything in which it differs from the experiment."""
        rates = ", ".join(map(str, self.rates))
        return {
            "name": f"rivals-{self.name}",
            "cluster.profile": self.profile,
            "sweep.grid": f"{{workload.chat.arrivals.rate_rps: [{rates}]}}",
            **self.changes,
        }


def _summaries(prompt: int, output: int, be_prompt: int, be_output: int) -> dict[str, str]:
    """Azure conversations as RT and arXiv summaries as BE, cut to these lengths."""
    cut = f"{{kind: empirical, name: azure-conv, max_prompt: {prompt}, max_output: {output}}}"
    be_cut = f"max_prompt: {be_prompt}, max_output: {be_output}"
    return {
        "workload.chat.arrivals": "{kind: twin, name: azure-conv}",
        "workload.chat.lengths": cut,
        "workload.chat.slo": "{ttft_s: 1.0, tpot_s: 0.2}",
        "workload.batch.lengths": f"{{kind: empirical, name: arxiv-summarization, {be_cut}}}",
    }


A100, H100, OPT = "Llama-3-8B, A100-80GB", "Llama-3-8B, H100-80GB", "OPT-13B, 2 x A100-40GB"
A100_PROFILE, H100_PROFILE = "a100-80gb/llama-3-8b-tp1", "h100-80gb/llama-3-8b-tp1"
OPT_PROFILE = "a100-40gb/opt-13b-tp2"
LONG, SHORT = _summaries(4096, 1000, 4096, 1000), _summaries(1024, 1000, 1500, 500)
HALF = {"duration_s": "60"}
"""Shorter where requests are many: as many of them count."""

PLACES = (
    Place("a100-chat", A100, A100_PROFILE, CHAT, (6, 14, 22)),
    Place("h100-chat", H100, H100_PROFILE, CHAT, (24, 52, 56), HALF),
    Place("opt-chat", OPT, OPT_PROFILE, CHAT, (1, 4, 8)),
    Place("a100-summaries", A100, A100_PROFILE, SUMMARIES, (2, 6, 9), LONG),
    Place("h100-summaries", H100, H100_PROFILE, SUMMARIES, (8, 16, 22), LONG),
    Place("opt-summaries", OPT, OPT_PROFILE, SUMMARIES, (0.5, 2, 4), SHORT),
)
"""Loads by trial: at the light one vLLM with priorities serves nearly all RT in time; near
saturation it still serves most, where vLLM FCFS loses many; in overload it loses many itself.
"""
