"""TGI's batching loop (text-generation-inference 3.3.6-dev0, commit db931fcf; read, not run).

Sources: backends/v3/src/{queue,backend}.rs, launcher/src/main.rs, and generate_token of
server/text_generation_server/models/flash_causal_lm.py. The router decides who joins, its server
how prompts are cut. Defaults are those of the launcher.

- Memory is reserved for a request's whole life, up to its ``max_tokens`` (kv/reserved.py). Nobody
  is preempted, and the queue is first come, first served: the head or nobody.
- Newcomers' prompts keep within ``max_batch_prefill_tokens``, rounded up to whole KV blocks.
- A forward that admits is followed by one that does not, save for the first of a busy period.
- ``chunking: false`` (the v2 backend, and v3 with paged attention): a forward runs the newcomers'
  prompts, whole, and all others stand still. They are so interrupted only for at least
  ``floor(waiting_served_ratio * batch)`` requests, in 32-bit arithmetic, until
  ``max_waiting_tokens`` forwards have passed since newcomers came last.
- ``chunking: true`` (v3 with flashinfer, the default on A100 and H100): newcomers' prompts run
  beside the decodes, which count against the budget, and the last prompt is cut to fit. It goes on
  in each of the next forwards, with what a token for each other request leaves of the budget; if
  some have just finished, a second one can be cut before the first is done, and then goes first.
- ``max_concurrent_requests`` are in the house, waiting ones included; the router refuses all
  others, and those longer than ``max_input_tokens`` and ``max_total_tokens`` say.

Exact, as far as reading goes, forward by forward. Simplified: no prefix cache (see kv/reserved.py);
no speculation; no padding, as in all flash models. The v2 router's own token arithmetic (prompt and
output rounded up to blocks each) is not mirrored: ``chunking: false`` is v3 with paged attention.
``max_batch_prefill_tokens`` is 4096, at most the model length, where the launcher estimates more
for some GPUs. A request that the whole memory cannot hold is rejected; TGI would let it, and all
behind it, wait for ever. Real-time and best-effort are alike to TGI.
"""

import math
import sys
from collections import abc, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le

from bros_sim.core.errors import LawBroken
from bros_sim.core.world import Given, Supplied, World
from bros_sim.engine import reasons
from bros_sim.engine.kv_cache import KVManager
from bros_sim.engine.reasons import Note
from bros_sim.engine.scheduler import UNTIL_EVENT, BatchView, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.parameters import Count, SchedulerParameters

UNLIMITED = sys.maxsize


def _total_tokens(world: World, given: Given) -> int:
    return given.number("max_total_tokens") or world.max_model_len


class NextBatch(NamedTuple):
    """Requests that leave the queue, and why the head of those that stay does so."""

    taken: abc.Sequence[tuple[SequenceView, int]] = ()
    """The requests and the prompt tokens that each computes first: all, but for the last one's."""
    barred: Note | None = None  # None when nobody stays


class TgiQueue(deque[SequenceView]):
    """The router's queue: FCFS. ``chunking``: a prompt over the budget is cut, not put back."""

    def __init__(self, *, chunking: bool) -> None:
        super().__init__()
        self._chunking = chunking

    def barred(self, reason: str, value: float = math.nan, limit: float = math.nan) -> Note | None:
        """What keeps the head, if there is one."""
        return Note(self[0], reason, None, value, limit) if self else None

    def next_batch(
        self, kv: KVManager, *, budget: int, min_size: int = 0, max_size: int = UNLIMITED
    ) -> NextBatch:
        """TGI's ``next_batch``: at least ``min_size`` requests, or none.

        ``budget`` is of prompt tokens and is rounded up to whole blocks. Blocks are taken in the
        draft of ``kv``. TGI's ``token_budget`` is not asked for: there it matters only when it is
        0, and the block that is never used prevents that.
        """
        if budget == 0:
            return NextBatch((), self._over_budget(0))
        if len(self) < min_size:
            return NextBatch((), self.barred(reasons.TOO_FEW, len(self), min_size))
        if max_size == 0:
            return NextBatch((), self.barred(reasons.SEATS, 0, 0))
        mark = kv.mark()
        taken, barred = self._take(kv, -(-budget // kv.block_size) * kv.block_size, max_size)
        if taken and len(taken) < min_size:
            kv.rollback(mark)
            self.extendleft(seq for seq, _ in reversed(taken))
            return NextBatch((), self.barred(reasons.TOO_FEW, len(taken), min_size))
        return NextBatch(taken, barred)

    def _take(self, kv: KVManager, budget: int, max_size: int) -> NextBatch:
        taken: list[tuple[SequenceView, int]] = []
        while self:
            seq, mark = self[0], kv.mark()
            prompt = seq.num_tokens
            if not kv.admit(seq, prompt, (), must_fit=prompt, spare=0):
                needed = -(-(seq.prompt_tokens + seq.max_tokens - 1) // kv.block_size)
                return NextBatch(taken, self.barred(reasons.MEMORY, needed, kv.free_blocks))
            if prompt > budget and not (self._chunking and budget):
                kv.rollback(mark)
                return NextBatch(taken, self._over_budget(budget))
            taken.append((self.popleft(), min(prompt, budget)))
            if prompt > budget:
                return NextBatch(taken, self._over_budget(0))
            budget -= prompt
            if len(taken) == max_size:
                return NextBatch(taken, self.barred(reasons.SEATS, max_size, max_size))
        return NextBatch(taken)

    def _over_budget(self, left: int) -> Note | None:
        return self.barred(reasons.BUDGET, self[0].num_tokens, left) if self else None


class TgiScheduler:
    """One forward of TGI's batching loop an iteration."""

    overhead_share = 0.0

    def __init__(self, parameters: "TgiParameters") -> None:
        self.parameters = parameters
        self._here = 0  # requests that wait or run
        self._last_size = 0  # members of the batch in the last forward, finished ones included
        self._waiting_tokens = 0  # forwards since newcomers came last, theirs included
        self._owes_decode = False  # whether the last forward admitted beside others
        self._queue = TgiQueue(chunking=parameters.chunking)

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> bool:
        limits, tokens = self.parameters, seq.prompt_tokens + seq.max_tokens
        if (
            self._here >= limits.max_concurrent_requests
            or seq.prompt_tokens > (limits.max_input_tokens or UNLIMITED)
            or tokens > (limits.max_total_tokens or UNLIMITED)
        ):
            return False
        self._queue.append(seq)
        self._here += 1
        return True

    def finished(self, seq: SequenceView) -> None:
        self._here -= 1

    def waiting_seqs(self) -> Iterable[SequenceView]:
        return iter(self._queue)

    def plan(self, view: ReplicaView) -> Plan:
        """The next forward of the loop: one that admits, or a decode."""
        self._waiting_tokens += len(view.last_durations_s)
        chunks, size = self._next_chunks(view.batch), len(view.batch)
        batch = self._next_batch(view, sum(tokens for _, tokens in chunks))
        stalls = size > 0 and bool(batch.taken) and not self.parameters.chunking
        if not stalls and not view.kv.extend_decodes():
            raise LawBroken("tgi lacks memory for a decode: its KV manager does not reserve")
        notes = self._notes(batch, view.batch, stalls=stalls) if view.explain else ()
        self._owes_decode = size > 0 and bool(batch.taken)
        if batch.taken:
            self._waiting_tokens = 0
        self._last_size = size + len(batch.taken)
        chunks += batch.taken
        return Plan(
            tuple(chunks),
            tuple((seq, 0) for seq, _ in batch.taken),
            repeat=1 if chunks else self._repeat(batch.barred),
            stalls=stalls,
            notes=notes,
        )

    def _next_batch(self, view: ReplicaView, prefilling: int) -> NextBatch:
        """Whom the router lets join; ``prefilling`` are the tokens of prompts that go on."""
        limits, size = self.parameters, len(view.batch)
        budget, most = limits.max_batch_prefill_tokens, limits.max_batch_size or UNLIMITED
        if size and self._owes_decode:
            return NextBatch((), self._queue.barred(reasons.EVERY_SECOND))
        if size and limits.chunking:
            left = max(budget - prefilling - view.num_decodes, 0)
            return self._queue.next_batch(view.kv, budget=left)
        fewest = int(np.float32(size) * np.float32(limits.waiting_served_ratio))
        if self._waiting_tokens >= limits.max_waiting_tokens:
            fewest = 0
        most = max(most - size, 0)
        return self._queue.next_batch(view.kv, budget=budget, min_size=fewest, max_size=most)

    def _repeat(self, barred: Note | None) -> int:
        """Forwards for which the answer stays: only a finish gives room, tokens and seats."""
        reason = barred.reason if barred else ""
        if reason == reasons.TOO_FEW:
            return self.parameters.max_waiting_tokens - self._waiting_tokens
        return 1 if reason == reasons.EVERY_SECOND else UNTIL_EVENT

    def _next_chunks(self, batch: BatchView) -> list[tuple[SequenceView, int]]:
        """What the server computes next of each cut prompt, newest first; in the batch's order."""
        budget = self.parameters.max_batch_prefill_tokens - (self._last_size - 1)
        chunks: list[tuple[SequenceView, int]] = []
        for seq in reversed(list(batch.outside.values())):
            tokens = max(min(seq.num_tokens - seq.num_computed, budget), 1)
            budget -= tokens
            chunks.append((seq, tokens))
        return chunks[::-1]

    def _notes(self, batch: NextBatch, running: BatchView, *, stalls: bool) -> tuple[Note, ...]:
        head = () if batch.barred is None else (batch.barred,)
        stalled = running if stalls else ()
        return (*head, *(Note(x, reasons.PROMPTS_FIRST, batch.taken[0][0]) for x in stalled))


@dataclass(frozen=True)
class TgiParameters(SchedulerParameters):
    """TGI 3.3: first come, first served, memory reserved for life, chunked prefill or stalls."""

    makes = TgiScheduler
    needs_reserving_kv = True

    chunking: Annotated[
        bool, Doc("cut prompts and run them beside decodes (v3); else decodes stand still (v2)")
    ] = True
    max_batch_prefill_tokens: Annotated[
        Count,
        Supplied("4096, at most the model length", lambda w, _: min(4096, w.max_model_len)),
        Doc("prompt tokens of a forward"),
    ] = 4096
    max_concurrent_requests: Annotated[
        Count, Doc("requests waiting or running; all others are rejected")
    ] = 128
    max_input_tokens: Annotated[
        Count | None,
        Supplied("one less than max_total_tokens", lambda w, g: max(_total_tokens(w, g) - 1, 1)),
        Doc("longest prompt; others are rejected"),
    ] = None
    max_total_tokens: Annotated[
        Count | None,
        Supplied("the model length", _total_tokens),
        Doc("most tokens of prompt and max_tokens together; others are rejected"),
    ] = None
    max_batch_size: Annotated[
        Count | None, Doc("most requests that run; with chunking, of a busy period's first forward")
    ] = None
    waiting_served_ratio: Annotated[
        float,
        Ge(0),
        Le(1000),
        Doc("newcomers for each running request that may stall them; not if chunking"),
    ] = 0.3
    max_waiting_tokens: Annotated[
        int, Ge(0), Doc("forwards after which the ratio no longer counts; not if chunking")
    ] = 20

    @property
    def mirrors(self) -> str:
        how = "chunked prefill" if self.chunking else "no chunking"
        return f"TGI 3.3.6-dev0 v3 router ({how}, no prefix cache), by reading"

    def conflicts(self, world: World) -> tuple[str, ...]:
        total = self.max_total_tokens or world.max_model_len
        longest = self.max_input_tokens or total - 1
        if longest >= total:
            return (f"max_input_tokens {longest} should be below max_total_tokens {total}",)
        if not self.chunking and longest > self.max_batch_prefill_tokens:
            return (
                f"max_batch_prefill_tokens {self.max_batch_prefill_tokens} is below"
                f" max_input_tokens {longest}: without chunking such a prompt could never run",
            )
        return ()
