"""A named stream of an experiment -> its requests, the same under every system.

Lengths are drawn in blocks, each from its own generator, so the i-th request has the same whatever
the load, duration or system.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.workload.arrivals import Clients, OpenArrivals
from bros_sim.workload.lengths import Headroom, LengthModel, MaxTokens, Pairs
from bros_sim.workload.prompts import Hashes, Refrag, salted, system_prompt
from bros_sim.workload.traces import Trace, take
from bros_sim.workload.twins import Twin

BLOCK = 1024
NO_END = np.iinfo(np.int64).max
NO_LENGTHS = (np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Stream:
    """One stream of the YAML's ``workload``.

    ``lengths`` may be left out where the arrivals bring their own. A class, SLO or cap in a trace's
    row takes precedence. All prompts begin with ``system_prompt_tokens``, on top of their lengths.
    With ``max_model_len`` clients clip their caps, and so outputs, to what a prompt leaves of it.
    """

    name: str
    service_class: ServiceClass
    arrivals: OpenArrivals | Clients
    lengths: LengthModel | None = None
    slo: Slo = field(default_factory=Slo)
    max_tokens: MaxTokens = field(default_factory=Headroom)
    system_prompt_tokens: int = 0
    refrag: Refrag | None = None
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        if self.lengths is None and not self.arrivals.brings_lengths:
            raise InputError(f"workload.{self.name}: lengths: this key is missing")

    def prompts(self, lengths: NDArray[np.int64], *, hashed: bool) -> NDArray[np.int64]:
        """Tokens that the engine sees of prompts; `InputError` if hashes would stand for others."""
        if hashed and (self.refrag or self.system_prompt_tokens):
            what = "prompts with prefix hashes take no system_prompt_tokens and no refrag"
            raise InputError(what)
        seen = self.refrag.positions(lengths) if self.refrag else lengths
        return seen + self.system_prompt_tokens

    def room(self, prompts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Most tokens that the model has left; without end for those that it leaves none."""
        if self.max_model_len is None:
            return np.full(len(prompts), NO_END)
        left = self.max_model_len - prompts
        return np.where(left > 0, left, NO_END)

    def files(self) -> tuple[Path, ...]:
        """Files that the requests depend on, for the fingerprint of a result."""
        files = (getattr(part, "file", None) for part in (self.arrivals, self.lengths))
        return tuple(file for file in files if file is not None)

    @property
    def own(self) -> Trace | Twin | None:
        """The trace that is replayed or the twin that is played, if its lengths are too."""
        return None if self.lengths is not None else getattr(self.arrivals, "content", None)


class Cut(NamedTuple):
    """How many outputs were cut: to ``max_tokens``, and of the others to the model length."""

    to_cap: int
    to_model_len: int


NOTHING = Cut(0, 0)


@dataclass(frozen=True)
class OpenLoop:
    """Requests that come by the clock, sorted by arrival; so many outputs were ``cut``.

    A client that keeps at most ``max_in_flight`` of them out sends the others later, in order.
    """

    requests: list[Request]
    cut: Cut = NOTHING
    max_in_flight: int | None = None


@dataclass(frozen=True)
class ClosedLoop:
    """Requests that come when earlier ones are done; ``cut`` counts the first ``BLOCK``."""

    clients: int
    think_time_s: float
    whole_batch: bool
    request: Callable[[int, float], Request]
    """Makes one, from its index in the stream and its arrival."""
    cut: Cut = NOTHING


def generator(seed: int, stream: str, purpose: str, block: int = 0) -> np.random.Generator:
    """The named generator of one purpose of one stream."""
    key = (zlib.crc32(stream.encode()), zlib.crc32(purpose.encode()), block)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def build(stream: Stream, seed: int, duration_s: float) -> OpenLoop | ClosedLoop:
    """Requests of a stream in [0, duration_s); `InputError` for bad files, none, or too many."""
    if not isinstance(stream.arrivals, OpenArrivals):
        return _closed(stream, stream.arrivals, seed)
    rng = generator(seed, stream.name, "arrivals")
    times, rows = stream.arrivals.rows(duration_s, rng)
    if isinstance(trace := stream.own, Trace):
        return _of_trace(stream, trace, times, rows)
    blocks = [_block(stream, seed, n) for n in range(-(-len(times) // BLOCK))] or [NO_LENGTHS]
    prompts, outputs = (np.concatenate(part)[: len(times)] for part in zip(*blocks, strict=True))
    made = _Columns(times, prompts, outputs, stream.max_tokens.caps(outputs))
    model = stream.own.prefixes if isinstance(stream.own, Twin) else None
    if model is not None:
        hashes = model.sample(prompts, generator(seed, stream.name, "prefixes"))
        made = replace(made, hashes=hashes, block_tokens=model.block_tokens)
    return _requests(stream, made)


@dataclass(frozen=True)
class _Columns:
    """One entry per request; without ``classes`` or ``slos`` all have the stream's."""

    times: NDArray[np.float64]
    prompts: NDArray[np.int64]
    outputs: NDArray[np.int64]
    caps: NDArray[np.int64]
    classes: list[ServiceClass] | None = None
    slos: list[Slo] | None = None
    hashes: Hashes | None = None
    block_tokens: int = 16


def _requests(stream: Stream, of: _Columns) -> OpenLoop:
    """The requests, with their outputs cut to the caps and prompts as the engine sees them."""
    count, shared, block_tokens = len(of.times), stream.system_prompt_tokens, of.block_tokens
    if shared:
        prefixes, block_tokens = system_prompt(shared, stream.name) * count, shared
    else:
        prefixes = [()] * count if of.hashes is None else salted(of.hashes, stream.name)
    slo, deadline_s = stream.slo, stream.arrivals.own_deadline_s
    if deadline_s is not None:  # all of a bag's requests arrive at once
        slo = replace(slo, e2e_s=deadline_s)
    prompts = stream.prompts(of.prompts, hashed=of.hashes is not None)
    outputs, caps, cut = _clipped(stream, prompts, of.outputs, of.caps)
    rows = zip(
        of.classes or [stream.service_class] * count, of.times.tolist(), prompts.tolist(),
        outputs.tolist(), caps.tolist(), of.slos or [slo] * count, prefixes, strict=True,
    )  # fmt: skip
    requests = [
        Request(stream.name, index, cls, at, prompt, output, cap, own, prefix, block_tokens, shared)
        for index, (cls, at, prompt, output, cap, own, prefix) in enumerate(rows)
    ]
    return OpenLoop(requests, cut)


def _clipped(
    stream: Stream, prompts: NDArray[np.int64], outputs: NDArray[np.int64], caps: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Cut]:
    """Outputs and caps as they are asked for, and how many outputs that cut."""
    room, capped = stream.room(prompts), np.minimum(outputs, caps)
    shorter = np.minimum(capped, room)
    cut = Cut(int(np.sum((outputs > caps) & (capped <= room))), int(np.sum(capped > room)))
    return shorter, np.minimum(caps, room), cut


def _block(stream: Stream, seed: int, number: int) -> Pairs:
    lengths = stream.own.lengths if isinstance(stream.own, Twin) else stream.lengths
    assert lengths is not None
    return lengths.sample(BLOCK, generator(seed, stream.name, "lengths", number))


def _of_trace(
    stream: Stream, trace: Trace, times: NDArray[np.float64], rows: NDArray[np.intp]
) -> OpenLoop:
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has no lengths; give the stream `lengths`")
    taken = take(trace, rows)
    caps = stream.max_tokens.caps(taken.output_tokens)
    if taken.max_tokens is not None:
        caps = np.where(taken.max_tokens > 0, taken.max_tokens, caps)
    classes = [own or stream.service_class for own in taken.service_class or ()]
    lengths, slos = (taken.prompt_tokens, taken.output_tokens), _slos(stream.slo, taken)
    prefixes = (taken.prefix_hashes, taken.hash_block_tokens)
    return _requests(stream, _Columns(times, *lengths, caps, classes, slos, *prefixes))


def _slos(slo: Slo, rows: Trace) -> list[Slo] | None:
    """What the rows state, and the stream's where they state nothing."""
    columns = (rows.ttft_slo_s, rows.tpot_slo_s, rows.e2e_slo_s)
    if all(column is None for column in columns):
        return None
    stated = []
    for column, default in zip(columns, (slo.ttft_s, slo.tpot_s, slo.e2e_s), strict=True):
        values = [math.nan] * len(rows) if column is None else column.tolist()
        stated.append([default if math.isnan(value) else value for value in values])
    return [Slo(*values) for values in zip(*stated, strict=True)]


def _closed(stream: Stream, clients: Clients, seed: int) -> ClosedLoop:
    blocks: dict[int, list[tuple[int, int, int]]] = {}
    shared = stream.system_prompt_tokens
    (prefix,) = system_prompt(shared, stream.name)

    def draw(number: int) -> Cut:
        lengths, outputs = _block(stream, seed, number)
        prompts = stream.prompts(lengths, hashed=False)
        given = stream.max_tokens.caps(outputs)
        outputs, caps, cut = _clipped(stream, prompts, outputs, given)
        blocks[number] = list(zip(prompts.tolist(), outputs.tolist(), caps.tolist(), strict=True))
        return cut

    def request(index: int, arrival_s: float) -> Request:
        number, row = divmod(index, BLOCK)
        if number not in blocks:
            draw(number)
        lengths = blocks[number][row]
        return Request(
            stream.name, index, stream.service_class, arrival_s, *lengths,
            stream.slo, prefix, shared or 16, shared,
        )  # fmt: skip

    cut = draw(0)
    return ClosedLoop(clients.clients, clients.think_time_s, clients.batch, request, cut)
