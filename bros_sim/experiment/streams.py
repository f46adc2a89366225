"""Streams built before anything is written: what cannot be made is bad input, found here."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bros_sim.config import Data, Document
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment.build import stream_of
from bros_sim.experiment.inputs import files_of
from bros_sim.experiment.schema import Experiment, Stream
from bros_sim.workload.changes import Changes, changes
from bros_sim.workload.streams import build

Labels = Mapping[str, Data]
"""Sweep path -> its value; of a whole point also ``system`` and ``seed``."""


CUTS = {"lengths", "max_tokens", "system_prompt_tokens", "refrag"}
"""What of a stream can cut its requests, or not go with its trace."""


@dataclass(frozen=True)
class StreamCheck:
    """One stream as some points have it: the values of the grid behind it, and what was cut."""

    stream: str
    labels: Labels
    changes: Changes


def check_streams(
    document: Document, specs: Iterable[tuple[Labels, Experiment]]
) -> list[StreamCheck]:
    """Check every stream of every point; build those in which something new can be cut.

    Built, with the first seed, is a stream of new lengths, a new cap or a new file, and every
    replay; of the others only what its arrivals ask for is looked at.

    Raises:
        InputError: With every stream that cannot be made.
    """
    seen: set[str] = set()
    checks: list[StreamCheck] = []
    faults: dict[Fault, None] = {}
    for labels, spec in specs:
        for name, stream in spec.workload.items():
            mine = {axis: v for axis, v in labels.items() if _concerns(document, axis, name)}
            try:
                checks += [
                    StreamCheck(name, mine, found) for found in _check(spec, name, stream, seen)
                ]
            except InputError as error:
                lines = [f"{what}{_at(mine)}" for what in error.lines]
                place = ("workload", name)
                faults |= dict.fromkeys(document.fault(place, line, key=True) for line in lines)
    if faults:
        raise InputError(*faults)
    return checks


def warnings(checks: Iterable[StreamCheck]) -> Iterator[str]:
    """One line for each stream that is not what it was made from, about the first such point."""
    lines: dict[str, str] = {}
    for one in checks:
        if words := "; ".join(one.changes.lines()):
            line = f"workload.{one.stream}: {words}{_at(one.labels)}"
            lines.setdefault(one.stream, line)
    yield from lines.values()


def _at(labels: Labels) -> str:
    """Which values of the grid a line is about; nothing without a grid."""
    values = ", ".join(f"{axis} = {json.dumps(value)}" for axis, value in labels.items())
    return f" (at {values})" if values else ""


def _concerns(document: Document, axis: str, stream: str) -> bool:
    path = document.path_of(axis)
    return path[:2] in {("workload", stream), ("workload",), ("duration_s",)}


def _check(spec: Experiment, name: str, stream: Stream, seen: set[str]) -> Iterator[Changes]:
    """What was cut, if the stream was not seen before and has to be built."""
    whole = stream.model_dump_json(exclude={"service_class", "slo"})
    if _known(f"{name} {spec.duration_s} {whole}", seen):
        return
    files = [str(path) for path in (*files_of(stream.arrivals), *files_of(stream.lengths))]
    cuts = stream.model_dump_json(include=CUTS)
    known = _known(f"{name} {files} {cuts}", seen)
    if stream.arrivals.replays_rows or not known:
        made_of = stream_of(name, stream)
        made = build(made_of, spec.seed, spec.duration_s)
        yield changes(made_of, made, spec.duration_s)
    else:
        stream.arrivals.check(spec.duration_s)


def _known(text: str, seen: set[str]) -> bool:
    known = text in seen
    seen.add(text)
    return known
