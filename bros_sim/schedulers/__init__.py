"""Schedulers: what each iteration of a replica computes."""

from bros_sim.engine.scheduler import Scheduler
from bros_sim.schedulers.bros.scheduler import BrosScheduler
from bros_sim.schedulers.conserve_like import ConserveLikeScheduler
from bros_sim.schedulers.edf import EdfScheduler
from bros_sim.schedulers.fastserve import FastServeScheduler
from bros_sim.schedulers.hygen import HygenScheduler
from bros_sim.schedulers.least_slack import LeastSlackScheduler
from bros_sim.schedulers.niyama.scheduler import NiyamaScheduler
from bros_sim.schedulers.orca import OrcaScheduler
from bros_sim.schedulers.round_robin import RoundRobinScheduler
from bros_sim.schedulers.sarathi import SarathiScheduler
from bros_sim.schedulers.sjf import SjfScheduler
from bros_sim.schedulers.slos_serve.scheduler import SlosServeLikeScheduler
from bros_sim.schedulers.srpf import SrpfScheduler
from bros_sim.schedulers.static_priority import StaticPriorityScheduler
from bros_sim.schedulers.tempo_like import TempoLikeScheduler
from bros_sim.schedulers.tgi import TgiScheduler
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_v0 import VllmV0Scheduler
from bros_sim.schedulers.vtc import VtcScheduler

SCHEDULERS: dict[str, type[Scheduler]] = {
    "bros": BrosScheduler,
    "bros_rr": RoundRobinScheduler,
    "conserve_like": ConserveLikeScheduler,
    "edf": EdfScheduler,
    "fastserve": FastServeScheduler,
    "hygen": HygenScheduler,
    "least_slack": LeastSlackScheduler,
    "niyama": NiyamaScheduler,
    "orca": OrcaScheduler,
    "sarathi": SarathiScheduler,
    "sjf": SjfScheduler,
    "slos_serve_like": SlosServeLikeScheduler,
    "srpf": SrpfScheduler,
    "static_priority": StaticPriorityScheduler,
    "tempo_like": TempoLikeScheduler,
    "tgi": TgiScheduler,
    "vllm": VllmScheduler,
    "vllm_v0": VllmV0Scheduler,
    "vtc": VtcScheduler,
}
"""``kind`` in YAML -> class; a new scheduler is one file and one line here."""

NEVER_PREEMPT: tuple[type, ...] = (OrcaScheduler, TgiScheduler)
"""Schedulers that work only with a KV manager that reserves (`KVManager.reserves`)."""
