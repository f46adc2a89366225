"""Twins: statistics of traces as JSON, to be shipped where the trace cannot be.

A joint length histogram and, if the trace had them, a rate profile and a prefix model, with
provenance, licence and what was measured; no row of the trace.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_doc import Doc
from numpy.typing import NDArray

from bros_sim.core.atomic import written
from bros_sim.core.data_files import data_path
from bros_sim.core.errors import InputError
from bros_sim.workload.histogram import Bins, JointHistogram
from bros_sim.workload.intensity import StepRate
from bros_sim.workload.prompts import PrefixModel
from bros_sim.workload.readers.base import Source
from bros_sim.workload.statistics import Number, trace_summary
from bros_sim.workload.traces import Trace


@dataclass(frozen=True, eq=False)
class Twin:
    """Statistics of one trace and where they come from."""

    name: str
    describes: str
    licence: str
    note: str
    measured: Mapping[str, Mapping[str, Number]]
    lengths: JointHistogram
    rate: StepRate | None = None
    prefixes: PrefixModel | None = None


def fit_twin(trace: Trace, *, name: str, describes: str, licence: str, note: str = "") -> Twin:
    """The twin of a trace with lengths; ``describes`` it, and ``note`` says what was done to it."""
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has no lengths, so it has no twin")
    hashes, times = trace.prefix_hashes, trace.arrival_s
    lengths = JointHistogram.fit(trace.prompt_tokens, trace.output_tokens)
    timed = None if times is None or len(times) < 2 or times[-1] == 0 else times
    rate = None if timed is None else StepRate.fit(timed)
    prefixes = None if hashes is None else PrefixModel.fit(hashes, trace.hash_block_tokens)
    return Twin(name, describes, licence, note, trace_summary(trace), lengths, rate, prefixes)


def twin_paths() -> dict[str, Path]:
    """The shipped twins by name."""
    return dict(sorted((path.stem, path) for path in data_path("traces").glob("*.json")))


def why_no_twin(name: str) -> str | None:
    """What to say about a name that no shipped twin has; ``None`` for the names of twins."""
    names = list(twin_paths())
    if name in names:
        return None
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
    return f"there is no twin '{name}' ({hint})"


class FromFile:
    """Base of frozen dataclasses that keep what they have read, but are pickled without it."""

    def __getstate__(self) -> dict[str, object]:
        own: Any = self
        return {field.name: getattr(own, field.name) for field in fields(own)}


@dataclass(frozen=True)
class NamedFile(FromFile):
    """Base of components that take a shipped twin by ``name``, or a file of the user's own."""

    name: Annotated[str | None, Doc("a shipped twin: see `bros-sim trace list`")] = None
    path: Annotated[Path | None, Doc("a file of your own, instead of a name")] = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either name (a shipped twin) or path (a file)")
        if self.name is not None and (what := why_no_twin(self.name)) is not None:
            raise ValueError(f"name: {what}")

    @property
    def file(self) -> Path:
        return self.path or twin_paths()[self.name or ""]


TWIN_FORMAT = 1
TEXTS = ("name", "describes", "licence", "note")


def is_twin(path: Path) -> bool:
    """Whether a file is a twin rather than a trace."""
    with Source(path).open_binary() as file:
        return b'"twin_format"' in file.read(256)


def save_twin(twin: Twin, path: Path) -> None:
    """Write a twin, whole or not at all."""
    lengths, rate, prefixes = twin.lengths, twin.rate, twin.prefixes
    document = {
        "twin_format": TWIN_FORMAT,
        **{key: getattr(twin, key) for key in TEXTS},
        "measured": twin.measured,
        "lengths": {
            "prompt": _bins_out(lengths.prompt), "output": _bins_out(lengths.output),
            "counts": _column(lengths.counts),
        },
        "rate": rate and {
            "period_s": rate.period_s, "starts_s": _column(rate.starts_s),
            "rates_rps": _column(rate.rates),
        },
        "prefixes": prefixes and {
            name: _column(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(prefixes).items()
        },
    }  # fmt: skip
    with written(path) as draft:
        draft.write_text(_dump(document, 0) + "\n", encoding="utf-8")


class Line(list[Any]):
    """A list that stays on one line of the file."""


def _dump(value: object, depth: int) -> str:
    pad = "\n" + " " * (depth + 1)
    if isinstance(value, Line):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_dump(item, depth + 1)}" for key, item in value.items()]
        return "{" + pad + ("," + pad).join(items) + "\n" + " " * depth + "}"
    if isinstance(value, list):
        return "[" + pad + ("," + pad).join(_dump(item, depth + 1) for item in value) + "]"
    return json.dumps(round(value, 6) if isinstance(value, float) else value)


def _column(values: NDArray[Any]) -> list[Any]:
    if values.ndim > 1:
        return [_column(row) for row in values]
    if values.dtype == np.int64:
        return Line(values.tolist())
    return Line(float(f"{value:.6g}") for value in values.tolist())


def _bins_out(bins: Bins) -> dict[str, list[Any]]:
    mean = Line(round(value, 2) for value in bins.mean.tolist())
    return {"lo": _column(bins.lo), "hi": _column(bins.hi), "mean": mean}


def load_twin(path: Path) -> Twin:
    """Read a twin; an `InputError` if the file cannot be read or does not describe one."""
    source = Source(path)
    try:
        return _twin(json.loads(source.text()))
    except KeyError as error:
        raise InputError(f"{path}: not a twin: the key {error} is missing") from None
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: not a twin: {error}") from None


def _twin(document: Any) -> Twin:  # noqa: ANN401 - unchecked JSON
    if document["twin_format"] != TWIN_FORMAT:
        raise ValueError(f"twin_format must be {TWIN_FORMAT}, not {document['twin_format']}")
    return Twin(
        **{key: str(document[key]) for key in TEXTS},
        measured=dict(document["measured"]),
        lengths=_lengths_in(document["lengths"]),
        rate=None if document["rate"] is None else _rate_in(document["rate"]),
        prefixes=None if document["prefixes"] is None else _prefixes_in(document["prefixes"]),
    )


def _lengths_in(data: Any) -> JointHistogram:  # noqa: ANN401 - unchecked JSON
    prompt, output = _bins_in(data["prompt"]), _bins_in(data["output"])
    counts = np.array(data["counts"], np.int64)
    if counts.shape != (len(prompt.lo), len(output.lo)) or counts.min() < 0 or not counts.any():
        raise ValueError("lengths.counts must be one row per prompt bin, one count per output bin")
    return JointHistogram(prompt, output, counts)


def _bins_in(data: Any) -> Bins:  # noqa: ANN401 - unchecked JSON
    lo, hi = (np.array(data[key], np.int64) for key in ("lo", "hi"))
    mean = np.array(data["mean"], np.float64)
    sane = len(lo) == len(hi) == len(mean) > 0 and lo[0] >= 1 and (lo <= hi).all()
    sane = sane and (lo[1:] > hi[:-1]).all()
    if not sane or not ((mean >= lo - 0.01) & (mean <= hi + 0.01)).all():
        raise ValueError("lengths: bins must rise from 1, and each mean must lie in its bin")
    return Bins(lo, hi, np.clip(mean, lo, hi))


def _rate_in(data: Any) -> StepRate:  # noqa: ANN401 - unchecked JSON
    starts, rates = (np.array(data[key], np.float64) for key in ("starts_s", "rates_rps"))
    period = float(data["period_s"])
    sane = len(starts) == len(rates) > 0 and starts[0] == 0 and (np.diff(starts) > 0).all()
    sane = sane and starts[-1] < period < np.inf
    if not sane or not np.isfinite(rates).all() or rates.min() < 0:
        raise ValueError("rate: starts must rise from 0 to below period_s, rates must be >= 0")
    return StepRate(starts, rates, period)


def _prefixes_in(data: Any) -> PrefixModel:  # noqa: ANN401 - unchecked JSON
    numbers = (int(data["block_tokens"]), int(data["root_blocks"]))
    edges = np.array(data["edges"], np.int64)
    shares = (np.array(data[key], np.float64) for key in ("share", "fraction", "lag"))
    model = PrefixModel(*numbers, edges, *shares)
    classes = len(model.edges) + 1
    sane = model.block_tokens > 0 and model.root_blocks >= 0 and model.share.shape == (classes,)
    if not sane or model.fraction.shape != (classes, 21) or model.lag.shape != (21,):
        raise ValueError("prefixes: share and fraction need one entry per length class")
    return model
