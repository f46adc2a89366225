"""A named stream of an experiment -> its requests, the same under every system.

Draws come from generators named by the stream and the purpose (arrivals, lengths, prefixes).
Lengths are drawn in blocks of fixed size, each from a generator of its own, so the i-th request of
a stream has the same lengths whatever the load, the duration or the system.
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
from bros_sim.workload.caps import Headroom, MaxTokens
from bros_sim.workload.lengths import Empirical, LengthModel, Pairs
from bros_sim.workload.prompts import Hashes, Refrag, salted, system_prompt
from bros_sim.workload.replay import Replay, TwinArrivals
from bros_sim.workload.traces import Trace

BLOCK = 1024


@dataclass(frozen=True)
class Stream:
    """One stream of the YAML's ``workload``.

    ``lengths`` may be left out where the arrivals bring their own: a replayed trace has its rows,
    a twin its histogram (and prefix model). A class, SLO or cap in a trace's row takes
    precedence. All prompts begin with the same ``system_prompt_tokens``, on top of their lengths.
    """

    name: str
    service_class: ServiceClass
    arrivals: OpenArrivals | Clients
    lengths: LengthModel | None = None
    slo: Slo = field(default_factory=Slo)
    max_tokens: MaxTokens = field(default_factory=Headroom)
    system_prompt_tokens: int = 0
    refrag: Refrag | None = None

    def __post_init__(self) -> None:
        if self.lengths is None and not self.arrivals.brings_lengths:
            raise InputError(f"workload.{self.name}: lengths: this key is missing")

    def prompts(self, lengths: NDArray[np.int64], *, hashed: bool) -> NDArray[np.int64]:
        """Tokens that the engine sees of prompts of these lengths.

        Raises:
            InputError: They are ``hashed``, and would be others than those of the hashes.
        """
        if hashed and (self.refrag or self.system_prompt_tokens):
            raise InputError(
                "prompts with prefix hashes take no system_prompt_tokens and no refrag"
            )
        seen = self.refrag.positions(lengths) if self.refrag else lengths
        return seen + self.system_prompt_tokens

    def files(self) -> tuple[Path, ...]:
        """Files that the requests depend on, for the fingerprint of a result."""
        parts = (self.arrivals, self.lengths)
        return tuple(p.file for p in parts if isinstance(p, Replay | TwinArrivals | Empirical))


@dataclass(frozen=True)
class OpenLoop:
    """Requests that come by the clock, sorted by arrival; the index is the position.

    ``truncated`` counts outputs that were cut to a smaller cap. A client that keeps at most
    ``max_in_flight`` requests out sends the others later, in order, as answers come.
    """

    requests: list[Request]
    truncated: int = 0
    max_in_flight: int | None = None


@dataclass(frozen=True)
class ClosedLoop:
    """Requests that come when earlier ones are done.

    ``request(index, arrival_s)`` makes the index-th request of the stream.
    ``truncated`` counts outputs that were cut to a smaller cap among the first ``BLOCK``.
    """

    clients: int
    think_time_s: float
    whole_batch: bool
    request: Callable[[int, float], Request]
    truncated: int = 0


def generator(seed: int, stream: str, purpose: str, block: int = 0) -> np.random.Generator:
    """The named generator of one purpose of one stream."""
    key = (zlib.crc32(stream.encode()), zlib.crc32(purpose.encode()), block)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def build(stream: Stream, seed: int, duration_s: float) -> OpenLoop | ClosedLoop:
    """The requests of a stream in [0, duration_s).

    Raises:
        InputError: A trace or twin cannot be read or lacks what the stream needs, no request falls
            in the run, or there are too many.
    """
    if isinstance(stream.arrivals, Clients):
        return _closed(stream, stream.arrivals, seed)
    rng = generator(seed, stream.name, "arrivals")
    if isinstance(stream.arrivals, Replay):
        times, rows = stream.arrivals.rows(duration_s, rng)
        if stream.lengths is None:
            return _of_trace(stream, stream.arrivals.trace, times, rows)
    else:
        times = stream.arrivals.times(duration_s, rng)
    prompts, outputs = _lengths(stream, seed, len(times))
    hashes, block_tokens = _twin_prefixes(stream, prompts, seed)
    columns = _Columns(times, prompts, outputs, stream.max_tokens.caps(outputs))
    return _requests(stream, columns, hashes, block_tokens)


class _Columns(NamedTuple):
    """One entry per request; without ``classes`` or ``slos`` all have the stream's."""

    times: NDArray[np.float64]
    prompts: NDArray[np.int64]
    outputs: NDArray[np.int64]
    caps: NDArray[np.int64]
    classes: list[ServiceClass] | None = None
    slos: list[Slo] | None = None


def _requests(
    stream: Stream, columns: _Columns, hashes: Hashes | None, block_tokens: int
) -> OpenLoop:
    """The requests, with their outputs cut to the caps and prompts as the engine sees them."""
    times, lengths, outputs, caps, classes, slos = columns
    count, shared = len(times), stream.system_prompt_tokens
    if shared:
        prefixes, block_tokens = system_prompt(shared, stream.name) * count, shared
    else:
        prefixes = [()] * count if hashes is None else salted(hashes, stream.name)
    rows = zip(
        classes or [stream.service_class] * count,
        times.tolist(),
        stream.prompts(lengths, hashed=hashes is not None).tolist(),
        np.minimum(outputs, caps).tolist(),
        caps.tolist(),
        slos or [_slo(stream)] * count,
        prefixes,
        strict=True,
    )
    requests = [
        Request(stream.name, index, cls, at, prompt, output, cap, slo, prefix, block_tokens, shared)
        for index, (cls, at, prompt, output, cap, slo, prefix) in enumerate(rows)
    ]
    return OpenLoop(requests, int(np.sum(outputs > caps)))


def _slo(stream: Stream) -> Slo:
    """The stream's SLO; all of a bag's requests arrive at once, so its deadline is their E2E."""
    if stream.arrivals.own_deadline_s is not None:
        return replace(stream.slo, e2e_s=stream.arrivals.own_deadline_s)
    return stream.slo


def _lengths(stream: Stream, seed: int, count: int) -> Pairs:
    blocks = [_block(stream, seed, n) for n in range(-(-count // BLOCK))]
    if not blocks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    prompts, outputs = (np.concatenate(part)[:count] for part in zip(*blocks, strict=True))
    return prompts, outputs


def _block(stream: Stream, seed: int, number: int) -> Pairs:
    rng = generator(seed, stream.name, "lengths", number)
    if stream.lengths is not None:
        return stream.lengths.sample(BLOCK, rng)
    assert isinstance(stream.arrivals, TwinArrivals)
    return stream.arrivals.twin.lengths.sample(BLOCK, rng)


def _twin_prefixes(
    stream: Stream, prompts: NDArray[np.int64], seed: int
) -> tuple[Hashes | None, int]:
    """Prefix hashes of a twin that plays its own lengths; other streams share nothing."""
    if not isinstance(stream.arrivals, TwinArrivals) or stream.lengths is not None:
        return None, 16
    model = stream.arrivals.twin.prefixes
    if model is None:
        return None, 16
    return model.sample(prompts, generator(seed, stream.name, "prefixes")), model.block_tokens


def _of_trace(
    stream: Stream, trace: Trace, times: NDArray[np.float64], rows: NDArray[np.intp]
) -> OpenLoop:
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has no lengths; give the stream `lengths`")
    outputs = trace.output_tokens[rows]
    caps = stream.max_tokens.caps(outputs)
    if trace.max_tokens is not None:
        stated = trace.max_tokens[rows]
        caps = np.where(stated > 0, stated, caps)
    order = rows.tolist()
    classes = None
    if trace.service_class is not None:
        classes = [trace.service_class[n] or stream.service_class for n in order]
    hashes = trace.prefix_hashes
    taken = None if hashes is None else tuple(hashes[n] for n in order)
    slos = _slos(stream.slo, trace, rows)
    columns = _Columns(times, trace.prompt_tokens[rows], outputs, caps, classes, slos)
    return _requests(stream, columns, taken, trace.hash_block_tokens)


def _slos(slo: Slo, trace: Trace, rows: NDArray[np.intp]) -> list[Slo]:
    """What the rows state, and the stream's where they state nothing."""
    columns = (trace.ttft_slo_s, trace.tpot_slo_s, trace.e2e_slo_s)
    if all(column is None for column in columns):
        return [slo] * len(rows)
    defaults = (slo.ttft_s, slo.tpot_s, slo.e2e_s)
    stated = (
        [default] * len(rows)
        if column is None
        else [default if math.isnan(value) else value for value in column[rows].tolist()]
        for column, default in zip(columns, defaults, strict=True)
    )
    return [Slo(*values) for values in zip(*stated, strict=True)]


def _closed(stream: Stream, clients: Clients, seed: int) -> ClosedLoop:
    blocks: dict[int, list[tuple[int, int, int]]] = {}
    shared = stream.system_prompt_tokens
    (prefix,) = system_prompt(shared, stream.name)

    def draw(number: int) -> int:
        lengths, outputs = _block(stream, seed, number)
        prompts = stream.prompts(lengths, hashed=False)
        caps = stream.max_tokens.caps(outputs)
        cut = np.minimum(outputs, caps)
        blocks[number] = list(zip(prompts.tolist(), cut.tolist(), caps.tolist(), strict=True))
        return int(np.sum(outputs > caps))

    def request(index: int, arrival_s: float) -> Request:
        number, row = divmod(index, BLOCK)
        if number not in blocks:
            draw(number)
        lengths = blocks[number][row]
        return Request(
            stream.name, index, stream.service_class, arrival_s, *lengths,
            stream.slo, prefix, shared or 16, shared,
        )  # fmt: skip

    truncated = draw(0)
    return ClosedLoop(clients.clients, clients.think_time_s, clients.batch, request, truncated)
