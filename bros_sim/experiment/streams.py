"""Streams built before anything is written: what cannot be made is bad input, found here."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bros_sim.config import Data, Document
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment.build import cut_to, stream_of
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
    """
    seen: set[str] = set()
    length = ("cluster", "max_model_len"), ("cluster", "profile"), ("cluster", "over_model_len")
    checks: list[StreamCheck] = []
    faults: dict[Fault, None] = {}
    for labels, spec in specs:
        for name, stream in spec.workload.items():
            concern = {("workload", name), ("workload",), ("duration_s",)}
            concern |= {*length} if cut_to(spec) else set()
            mine = {a: v for a, v in labels.items() if document.path_of(a)[:2] in concern}
            try:
                found = _check(spec, name, stream, seen)
                checks += [StreamCheck(name, mine, found)] if found else []
            except InputError as error:
                for line in error.lines:
                    what = f"{line}{_at(mine)}"
                    faults[document.fault(("workload", name), what, key=True)] = None
    if faults:
        raise InputError(*faults)
    return checks


def warnings(checks: Iterable[StreamCheck]) -> list[str]:
    """One line for each stream that is not what it was made from, about the first such point."""
    lines: dict[str, str] = {}
    for one in checks:
        if words := "; ".join(one.changes.lines()):
            line = f"workload.{one.stream}: {words}{_at(one.labels)}"
            lines.setdefault(one.stream, line)
    return list(lines.values())


def _at(labels: Labels) -> str:
    values = ", ".join(f"{axis} = {json.dumps(value)}" for axis, value in labels.items())
    return f" (at {values})" if values else ""


def _check(spec: Experiment, name: str, stream: Stream, seen: set[str]) -> Changes | None:
    """What was cut, if the stream is new and has to be built."""
    whole, longest = stream.model_dump_json(exclude={"service_class", "slo"}), cut_to(spec)
    if _known(f"{name} {spec.duration_s} {longest} {whole}", seen):
        return None
    files = [str(path) for path in (*files_of(stream.arrivals), *files_of(stream.lengths))]
    cuts = stream.model_dump_json(include=CUTS)
    known = _known(f"{name} {longest} {files} {cuts}", seen)
    if known and not stream.arrivals.replays_rows:
        stream.arrivals.check(spec.duration_s)
        return None
    made_of = stream_of(name, spec)
    return changes(made_of, build(made_of, spec.seed, spec.duration_s), spec.duration_s)


def _known(text: str, seen: set[str]) -> bool:
    known = text in seen
    seen.add(text)
    return known
