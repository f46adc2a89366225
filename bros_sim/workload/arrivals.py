"""Arrivals at a steady mean rate; 0 is a stream without requests. Init fields are the YAML keys."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.workload import intensity

Times = NDArray[np.float64]
Rows = NDArray[np.intp]
MAX_RATE_RPS = 1e6
Rate = Annotated[float, Ge(0), Le(MAX_RATE_RPS)]
Cv = Annotated[float, Ge(0.01), Le(30)]


class Arrivals:
    """Base of the entries of ARRIVALS: what the rest of a stream has to know of them."""

    brings_lengths: ClassVar[bool] = False
    """Whether requests come with lengths of their own, if the stream gives none."""
    replays_rows: ClassVar[bool] = False
    """Whether requests are rows of a trace, which the stream's limits may cut."""

    @property
    def own_deadline_s(self) -> float | None:
        """A deadline of the whole request that the arrivals set."""
        return None

    def check(self, duration_s: float) -> None:
        """An `InputError` if there would be too many requests for so long, or none; draws none."""


class OpenArrivals(Arrivals):
    """Base of those whose requests come by the clock."""

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        raise NotImplementedError

    def rows(self, duration_s: float, rng: np.random.Generator) -> tuple[Times, Rows]:
        """Sorted `times` in [0, duration_s), and the row behind each if there is a trace."""
        return self.times(duration_s, rng), np.zeros(0, np.intp)


class SteadyRate(OpenArrivals):
    """A process of known mean rate."""

    rate_rps: float

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        if not self.rate_rps:
            return np.zeros(0)
        times = self.epochs(self.rate_rps * duration_s, rng) / self.rate_rps
        return np.asarray(times[times < duration_s])  # rounding may reach the end

    def epochs(self, horizon: float, rng: np.random.Generator) -> Times:
        """Sorted times in [0, horizon) at a mean rate of 1."""
        raise NotImplementedError

    def check(self, duration_s: float) -> None:
        intensity.check_count(self.rate_rps * duration_s)


@dataclass(frozen=True)
class Poisson(SteadyRate):
    """Poisson arrivals."""

    rate_rps: Annotated[Rate, Doc("mean requests per second")]

    def epochs(self, horizon: float, rng: np.random.Generator) -> Times:
        return intensity.poisson_epochs(horizon, rng)


@dataclass(frozen=True)
class Constant(SteadyRate):
    """One request every ``1 / rate_rps`` seconds, the first at 0."""

    rate_rps: Annotated[Rate, Doc("requests per second")]

    def epochs(self, horizon: float, rng: np.random.Generator) -> Times:
        intensity.check_count(horizon)
        return np.arange(math.ceil(horizon), dtype=np.float64)


@dataclass(frozen=True)
class Gamma(SteadyRate):
    """Renewal arrivals with gamma gaps: the burstiness knob of most load generators.

    Stationary: the expected number of requests is ``rate_rps * duration_s`` at any ``cv``.
    """

    rate_rps: Annotated[Rate, Doc("mean requests per second")]
    cv: Annotated[Cv, Doc("coefficient of variation of the gaps; 1 is Poisson")]

    def epochs(self, horizon: float, rng: np.random.Generator) -> Times:
        return intensity.gamma_epochs(self.cv**-2, horizon, rng)


@dataclass(frozen=True)
class Weibull(SteadyRate):
    """Renewal arrivals with Weibull gaps, by ``cv`` or by ``shape``; stationary as `Gamma`."""

    rate_rps: Annotated[Rate, Doc("mean requests per second")]
    cv: Annotated[Cv | None, Doc("coefficient of variation of the gaps")] = None
    shape: Annotated[float | None, Ge(0.2), Le(100), Doc("Weibull shape, instead of cv")] = None

    def __post_init__(self) -> None:
        if (self.cv is None) == (self.shape is None):
            raise ValueError("give either cv or shape")

    def epochs(self, horizon: float, rng: np.random.Generator) -> Times:
        return intensity.weibull_epochs(
            self.shape or intensity.weibull_shape(self.cv or 1.0), horizon, rng
        )


@dataclass(frozen=True)
class Bag(OpenArrivals):
    """A batch job: ``count`` requests at one moment, due by one deadline (their E2E SLO)."""

    count: Annotated[int, Ge(1), Le(10**7), Doc("requests in the bag")]
    release_s: Annotated[float, Ge(0), Doc("when all of them arrive")] = 0.0
    deadline_s: Annotated[float | None, Gt(0), Doc("when all should be done, after release")] = None

    @property
    def own_deadline_s(self) -> float | None:
        return self.deadline_s

    def times(self, duration_s: float, rng: np.random.Generator) -> Times:
        self.check(duration_s)
        return np.full(self.count, self.release_s)

    def check(self, duration_s: float) -> None:
        if self.release_s >= duration_s:
            what = f"no request falls in the run's {duration_s:g} s"
            raise InputError(f"{what}; the bag is released at {self.release_s:g} s (set release_s)")


@dataclass(frozen=True)
class Clients(Arrivals):
    """Clients that send their next request when the last one is done.

    With ``batch`` the clients act as one: the next ``clients`` requests come together when the
    whole batch before them is done.
    """

    clients: Annotated[int, Ge(1), Le(10**6), Doc("requests under way at any time")]
    think_time_s: Annotated[float, Ge(0), Le(1e6), Doc("pause before the next request")] = 0.0
    batch: Annotated[bool, Doc("send the next batch when the previous one is complete")] = False
