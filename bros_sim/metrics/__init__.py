"""Pure functions: the tables of a run -> numbers. METRICS says what each number means."""

from bros_sim.metric_table import METRICS, Metric, metric_name
from bros_sim.metrics.capacity import capacities
from bros_sim.metrics.requests import REQUEST_TABLE_COLUMNS, request_metrics
from bros_sim.metrics.saturation import saturation
from bros_sim.metrics.summary import summarise

__all__ = [
    "METRICS",
    "REQUEST_TABLE_COLUMNS",
    "Metric",
    "capacities",
    "metric_name",
    "request_metrics",
    "saturation",
    "summarise",
]
