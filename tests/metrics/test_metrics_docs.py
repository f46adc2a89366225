"""docs/metrics.md names every metric."""

from pathlib import Path

import pytest

from bros_sim.metrics.catalogue import METRICS

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.mark.parametrize("name", METRICS)
def test_the_metric_is_documented(name):
    text = DOCS.read_text(encoding="utf-8")
    base = name.removesuffix("_steady")
    if name.endswith("_ms") and f"`{name}`" not in text:
        statistic, _, base = name.removesuffix("_ms").partition("_")
        assert f"`{statistic}_`" in text
    assert f"`{base}`" in text or base in {
        "arrived",
        "completed",
        "rejected",
        "unfinished",
    }
