"""Synthetic traces: arrivals and lengths as an experiment writes them -> a trace file, a twin."""

from pathlib import Path
from typing import Annotated, Any

from bros_sim.config import decode, parse
from bros_sim.config.components import Kinds, Strict
from bros_sim.core.atomic import keep_source
from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass
from bros_sim.workload import ARRIVALS, LENGTHS
from bros_sim.workload.arrivals import Poisson
from bros_sim.workload.convert import synthesise
from bros_sim.workload.lengths import Empirical
from bros_sim.workload.replay import TwinArrivals
from bros_sim.workload.streams import Stream
from bros_sim.workload.traces import Trace, read_trace
from bros_sim.workload.twins import fit_twin, save_twin, twin_paths, why_no_twin

LENGTHS_ONLY_RPS = 1.0
"""Rate at which a figure plays a twin that has no arrivals of its own."""


class _Parts(Strict):
    arrivals: Annotated[Any, Kinds("arrival process", ARRIVALS)] = None
    lengths: Annotated[Any, Kinds("length distribution", LENGTHS)] = None


def make_twin(
    source: Path, out: Path, *, name: str | None, describes: str, licence: str, note: str
) -> int:
    """Write the twin of a trace; the number of rows that it describes."""
    if out.suffix != ".json":
        raise InputError(f"{out}: the name of a twin must end in .json")
    keep_source(source, out)
    trace = read_trace(source)
    made = fit_twin(trace, name=name or out.stem, describes=describes, licence=licence, note=note)
    save_twin(made, out)
    return len(trace)


def sample_twin(name: str) -> Trace:
    """A trace like the one that a twin describes."""
    twin = _twin_arrivals(name, None).content
    if twin.rate is None:
        duration_s = twin.lengths.counts.sum() / LENGTHS_ONLY_RPS
        return synthesise(synthetic(name, None, None, LENGTHS_ONLY_RPS), 0, float(duration_s))
    return synthesise(synthetic(name, None, None, None), 0, twin.rate.period_s or 3600.0)


def synthetic(
    twin: str | None, arrivals: str | None, lengths: str | None, rate: float | None
) -> Stream:
    """The stream of a synthetic trace: of a twin, of what is written in YAML, or of both."""
    if arrivals is not None and rate is not None:
        raise InputError("--rate: state the rate in --arrivals")
    if twin is None and (arrivals is None or lengths is None):
        raise InputError("trace synth: give --twin, or --arrivals and --lengths (or --twin-of)")
    size = None if lengths is None else _parsed("lengths", lengths).lengths
    if arrivals is not None:
        when = _parsed("arrivals", arrivals).arrivals
    else:
        assert twin is not None
        when = _twin_arrivals(twin, rate)
        if when.content.rate is not None:
            return Stream("synth", ServiceClass.RT, when, size)
        if rate is None:
            raise InputError(f"--twin {twin}: has no arrivals of its own; give --rate")
        when = Poisson(rate)
    if size is None and twin is not None:
        own = _twin_arrivals(twin, None)
        size = Empirical(own.name, own.path)
    return Stream("synth", ServiceClass.RT, when, size)


def _twin_arrivals(name: str, rate: float | None) -> TwinArrivals:
    if name in twin_paths():
        return TwinArrivals(name=name, rate_rps=rate)
    if not Path(name).exists() and not Path(name).suffix:
        raise InputError(f"--twin {name}: {why_no_twin(name)}")
    return TwinArrivals(path=Path(name), rate_rps=rate)


def _parsed(key: str, text: str) -> _Parts:
    return decode(_Parts, parse(f"{key}: {text}\n", f"--{key}"))
