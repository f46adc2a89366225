"""Twins: compact statistical descriptions of traces, to be shipped where the trace cannot be.

A twin is a JSON file of our own: a joint length histogram (`histogram`), and, if the trace had
them, a rate profile (`intensity`) and a prefix model (`prefixes`), with provenance, licence and the
measured statistics of what it describes. It holds no row of the trace. `fit_twin` makes one of any.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_doc import Doc

from bros_sim.core.data_files import data_path
from bros_sim.core.errors import InputError
from bros_sim.workload.histogram import JointHistogram
from bros_sim.workload.intensity import StepRate
from bros_sim.workload.prefixes import PrefixModel
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
    """The twin of a trace with lengths; ``describes`` says what the trace is and where it is from.

    ``licence`` is that of the trace; ``note`` says what was done to it before, and anything that a
    user must know.

    Raises:
        InputError: The trace has no lengths.
    """
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
    """Base of frozen dataclasses that keep what they have read.

    They are pickled without it: each process reads the file itself.
    """

    def __getstate__(self) -> dict[str, object]:
        """The parameters, not the content of the file."""
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
        """The file behind the two keys."""
        if self.path is not None:
            return self.path
        assert self.name is not None
        return twin_paths()[self.name]
