"""Pure functions: the tables of a run -> numbers. METRICS says what each number means.

What compares whole runs is imported by name: workers do without the 0.7 s and 50 MB of SciPy.
"""

from bros_sim.metrics.catalogue import summarise
from bros_sim.metrics.refusals import refusals
from bros_sim.metrics.requests import request_metrics

__all__ = ["refusals", "request_metrics", "summarise"]
