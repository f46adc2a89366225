"""Schedulers: what each iteration of a replica computes."""

from bros_sim.schedulers import textbook
from bros_sim.schedulers.bros.parameters import BrosParameters
from bros_sim.schedulers.co_serving import ConserveLikeParameters
from bros_sim.schedulers.fastserve import FastServeParameters
from bros_sim.schedulers.fcfs import OrcaParameters, SarathiParameters
from bros_sim.schedulers.hygen import HygenParameters
from bros_sim.schedulers.niyama import NiyamaParameters
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.schedulers.round_robin import BrosRoundRobinParameters
from bros_sim.schedulers.slos_serve import SlosServeLikeParameters
from bros_sim.schedulers.tempo_like import TempoLikeParameters
from bros_sim.schedulers.tgi import TgiParameters
from bros_sim.schedulers.vllm_parameters import VllmParameters
from bros_sim.schedulers.vllm_v0 import VllmV0Parameters
from bros_sim.schedulers.vtc import VtcParameters

SCHEDULERS: dict[str, type[SchedulerParameters]] = {
    "bros": BrosParameters,
    "bros_rr": BrosRoundRobinParameters,
    "conserve_like": ConserveLikeParameters,
    "edf": textbook.EdfParameters,
    "fastserve": FastServeParameters,
    "hygen": HygenParameters,
    "least_slack": textbook.LeastSlackParameters,
    "niyama": NiyamaParameters,
    "orca": OrcaParameters,
    "sarathi": SarathiParameters,
    "sjf": textbook.SjfParameters,
    "slos_serve_like": SlosServeLikeParameters,
    "srpf": textbook.SrpfParameters,
    "static_priority": textbook.StaticPriorityParameters,
    "tempo_like": TempoLikeParameters,
    "tgi": TgiParameters,
    "vllm": VllmParameters,
    "vllm_v0": VllmV0Parameters,
    "vtc": VtcParameters,
}
"""``kind`` in YAML -> its parameters; a new scheduler is one file and one line here."""
