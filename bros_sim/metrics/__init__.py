"""Pure functions: the tables of a run -> numbers. METRICS says what each number means."""

from bros_sim.metric_table import METRICS, Metric, metric_name
from bros_sim.metrics.capacity import capacities
from bros_sim.metrics.requests import REQUEST_TABLE_COLUMNS, request_metrics
from bros_sim.metrics.saturation import saturation
from bros_sim.metrics.summary import summarise
from bros_sim.metrics.undecided import capacities_by_draw, orders, with_bands

__all__ = [
    "METRICS",
    "REQUEST_TABLE_COLUMNS",
    "Metric",
    "capacities",
    "capacities_by_draw",
    "metric_name",
    "orders",
    "request_metrics",
    "saturation",
    "summarise",
    "with_bands",
]
