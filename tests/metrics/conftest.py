import pytest
from metric_runs import build

from bros_sim.metrics.tables import RunTables


@pytest.fixture
def run_of_all_kinds() -> RunTables:
    """Preempted, one token, two unfinished, rejected and SLO-free, on two replicas."""
    slo = {"ttft_slo_s": 1.0, "tpot_slo_s": 0.5}
    requests = [
        {"rows": [(0, 0, 2), (0, 4, 2)], "num_preemptions": 1, **slo},
        {"rows": [(1, 0, 1)], **slo},
        {"rows": [(0, 1, 3)], "status": "unfinished", "output_tokens": 9, **slo},
        {"status": "rejected", "output_tokens": 7, **slo},
        {"rows": [(1, 1, 2)], "status": "unfinished", "output_tokens": 5, **slo},
        {"rows": [(1, 0, 3)], "class": "be"},
    ]
    ends = [[0.5, 1.0, 1.5, 2.0, 4.0, 4.5], [2.0, 2.5, 3.5]]
    return build(requests, ends, duration_s=5.0)
