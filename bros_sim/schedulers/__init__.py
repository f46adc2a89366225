"""Schedulers: what each iteration of a replica computes."""

from bros_sim.schedulers.base import Scheduler
from bros_sim.schedulers.vllm import VllmScheduler

SCHEDULERS: dict[str, type[Scheduler]] = {"vllm": VllmScheduler}
"""``kind`` in YAML -> class; a new scheduler is one file and one line here."""
