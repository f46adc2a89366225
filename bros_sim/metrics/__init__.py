"""Pure functions: the tables of a run -> numbers. METRICS says what each number means.

`capacity` and `undecided` compare whole runs and are imported by name: workers do without them,
and without the 0.7 s and 50 MB of SciPy.
"""

from bros_sim.metrics.catalogue import METRICS, Metric, metric_name
from bros_sim.metrics.requests import request_metrics
from bros_sim.metrics.saturation import saturation
from bros_sim.metrics.summary import summarise
from bros_sim.metrics.tables import RunTables, run_tables

__all__ = [
    "METRICS",
    "Metric",
    "RunTables",
    "metric_name",
    "request_metrics",
    "run_tables",
    "saturation",
    "summarise",
]
