"""Synthetic traces: arrivals and lengths as an experiment writes them -> a trace file, a twin."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from bros_sim.config import decode, parse
from bros_sim.config.components import Kinds, Strict
from bros_sim.core.atomic import keep_source
from bros_sim.core.errors import InputError
from bros_sim.core.request import ServiceClass
from bros_sim.workload import ARRIVALS, LENGTHS
from bros_sim.workload.arrivals import Poisson
from bros_sim.workload.convert import synthesise, write_trace
from bros_sim.workload.lengths import Empirical
from bros_sim.workload.replay import TwinArrivals
from bros_sim.workload.streams import Stream
from bros_sim.workload.traces import Trace, read_trace
from bros_sim.workload.twins import fit_twin, save_twin, twin_paths, why_no_twin

T = TypeVar("T")
LENGTHS_ONLY_RPS = 1.0
"""Rate at which a figure plays a twin that has no arrivals of its own."""


class _Arrivals(Strict):
    arrivals: Annotated[Any, Kinds("arrival process", ARRIVALS)]


class _Lengths(Strict):
    lengths: Annotated[Any, Kinds("length distribution", LENGTHS)]


def make_twin(
    source: Path, out: Path, *, name: str | None, describes: str, licence: str, note: str
) -> int:
    """Write the twin of a trace; the number of rows that it describes.

    Raises:
        InputError: The trace cannot be read, or ``out`` cannot be written.
    """
    if out.suffix != ".json":
        raise InputError(f"{out}: the name of a twin must end in .json")
    keep_source(source, out)
    trace = read_trace(source)
    made = name or out.stem
    save_twin(fit_twin(trace, name=made, describes=describes, licence=licence, note=note), out)
    return len(trace)


def make_trace(
    twin: str | None,
    arrivals: str | None,
    lengths: str | None,
    rate: float | None,
    seed: int,
    duration_s: float,
    out: Path,
) -> Trace:
    """Write a synthetic trace.

    Raises:
        InputError: Too little or too much is given, or ``out`` cannot be written.
    """
    stream = _stream(twin, arrivals, lengths, rate)
    trace = synthesise(stream, seed, duration_s)
    write_trace(trace, out)
    return trace


def sample_twin(name: str) -> Trace:
    """A trace like the one that a twin describes."""
    arrivals = _twin_arrivals(name, None)
    if arrivals.content.rate is None:
        duration_s = arrivals.content.lengths.counts.sum() / LENGTHS_ONLY_RPS
        return synthesise(_stream(name, None, None, LENGTHS_ONLY_RPS), 0, float(duration_s))
    return synthesise(_stream(name, None, None, None), 0, arrivals.content.rate.period_s or 3600.0)


def _stream(
    twin: str | None, arrivals: str | None, lengths: str | None, rate: float | None
) -> Stream:
    if arrivals is not None and rate is not None:
        raise InputError("--rate: state the rate in --arrivals")
    if twin is None and (arrivals is None or lengths is None):
        raise InputError("trace synth: give --twin, or --arrivals and --lengths (or --twin-of)")
    size = None if lengths is None else _parsed(_Lengths, "lengths", lengths).lengths
    if arrivals is not None:
        when = _parsed(_Arrivals, "arrivals", arrivals).arrivals
        return Stream("synth", ServiceClass.RT, when, size or _twin_lengths(twin))
    assert twin is not None
    own = _twin_arrivals(twin, rate)
    if own.content.rate is not None:
        return Stream("synth", ServiceClass.RT, own, size)
    if rate is None:
        raise InputError(f"--twin {twin}: has no arrivals of its own; give --rate")
    return Stream("synth", ServiceClass.RT, Poisson(rate), size or _twin_lengths(twin))


def _twin_lengths(twin: str | None) -> Empirical | None:
    if twin is None:
        return None
    own = _twin_arrivals(twin, None)
    return Empirical(own.name, own.path)


def _twin_arrivals(name: str, rate: float | None) -> TwinArrivals:
    if name in twin_paths():
        return TwinArrivals(name=name, rate_rps=rate)
    if not Path(name).exists() and not Path(name).suffix:
        raise InputError(f"--twin {name}: {why_no_twin(name)}")
    return TwinArrivals(path=Path(name), rate_rps=rate)


def _parsed(shape: type[T], key: str, text: str) -> T:
    return decode(shape, parse(f"{key}: {text}\n", f"--{key}"))
