"""``METRIC[CLASS]``: a number of the summary as users name it, alone or with a limit."""

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from bros_sim.config.messages import closest, nearest
from bros_sim.core.errors import InputError
from bros_sim.metrics.catalogue import METRICS, Metric, metric_name
from bros_sim.metrics.usage import CLASSES

WORDS = {"rt": "real-time", "be": "best-effort", "all": "all requests"}
DEFAULT_CLASS = {"be_retention": "be"}
"""Metrics that only one class has; of the others `Measure.parse` takes the default."""
NAME = re.compile(r"\s*(?P<metric>\w+)\s*(\[\s*(?P<of>\w*)\s*\])?\s*")
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
LIMIT = re.compile(r"(?P<measure>[^<>=]*)(?P<sign>[<>=]+)\s*(?P<value>\S*)\s*")


def no_metric(name: str, known: Iterable[str]) -> str:
    """That there is no such metric, and which one is near."""
    key = metric_name(name)
    hint = nearest(key, known) if closest(key, known) else " (see `bros-sim list metrics`)"
    return f"there is no metric '{name}'{hint}"


@dataclass(frozen=True)
class Measure:
    """A metric of one class of requests: ``p99_ttft_ms[rt]``."""

    metric: str
    service_class: str

    def __str__(self) -> str:
        return f"{self.metric}[{self.service_class}]"

    @property
    def meaning(self) -> Metric:
        """Unit, words, and which direction is good."""
        return METRICS[self.metric]

    @property
    def is_share(self) -> bool:
        """A number from 0 to 1, which people read in per cent."""
        return self.meaning.unit == "share"

    @property
    def unit(self) -> str:
        """In which people read it; a number times `scale` is in it."""
        return "%" if self.is_share else self.meaning.unit

    @property
    def scale(self) -> float:
        """100 for a share, else 1."""
        return 100.0 if self.is_share else 1.0

    @classmethod
    def parse(cls, text: str, option: str = "") -> Self:
        """Read ``METRIC[CLASS]``, default rt; ``option`` is where it stands, for `InputError`."""
        found, place = NAME.fullmatch(text), f"{option} {text}: " if option else ""
        if not found:
            raise InputError(f"{place}write METRIC[CLASS], as in mean_ttft_ms[rt]")
        metric = metric_name(found["metric"])
        if metric not in METRICS:
            raise InputError(f"{place}{no_metric(found['metric'], METRICS)}")
        if metric == "saturation":
            raise InputError(f"{place}it is a word, not a number")
        of = found["of"] if found["of"] is not None else DEFAULT_CLASS.get(metric, "rt")
        if of not in CLASSES:
            raise InputError(f"{place}there is no class '{of}'{nearest(of, CLASSES)}")
        if DEFAULT_CLASS.get(metric, of) != of:
            raise InputError(f"{place}{metric} is of class {DEFAULT_CLASS[metric]}")
        return cls(metric, of)


@dataclass(frozen=True)
class Target:
    """A measure with a limit that it has to keep: ``slo_attainment[rt] >= 0.99``."""

    measure: Measure
    at_least: bool
    value: float

    def __str__(self) -> str:
        return f"{self.measure} {'>=' if self.at_least else '<='} {self.value:g}"

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """Read one; an `InputError` if it is not ``METRIC[CLASS] >= NUMBER`` or ``<=``."""
        found = LIMIT.fullmatch(text)
        if not found or found["sign"] not in {">=", "<="}:
            what = "write METRIC[CLASS] >= NUMBER or <=, as in 'slo_attainment[rt] >= 0.99'"
            raise InputError(f"{option} {text}: {what}")
        measure = Measure.parse(found["measure"], option)
        value = math.nan
        with suppress(ValueError):
            value = float(found["value"])
        if not math.isfinite(value):
            raise InputError(f"{option} {text}: '{found['value']}' is not a number")
        if measure.is_share and not 0 <= value <= 1 and measure.metric != "be_retention":
            raise InputError(f"{option} {text}: {measure.metric} is a share, from 0 to 1")
        return cls(measure, found["sign"] == ">=", value)


@dataclass(frozen=True)
class Width:
    """Half of a 95 % interval that will do: in the measure's unit, or as a share of its mean."""

    measure: Measure
    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{100 * self.value:g} %" if self.relative else f"{self.value:g}"

    @classmethod
    def parse(cls, measure: Measure, written: float | str) -> Self:
        """Read a number, or a text like ``5 %``; an `InputError` if it is neither, or not > 0."""
        share = PERCENT.fullmatch(written) if isinstance(written, str) else None
        value = float(share[1]) / 100 if share else written
        if isinstance(value, str) or not 0 < value < float("inf"):
            raise InputError(f"write a number above 0 ({measure.meaning.unit}), or as in '5 %'")
        return cls(measure, value, share is not None)

    def excess(self, mean: float, half_width: float) -> float:
        """How many times too wide an interval is; up to 1 it will do."""
        enough = self.value * abs(mean) if self.relative else self.value
        return half_width / enough if half_width else 0.0
