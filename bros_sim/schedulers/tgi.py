"""TGI's batching loop (text-generation-inference 3.3.6-dev0, commit db931fcf; read, not run).

Sources: backends/v3/src/{queue,backend}.rs, launcher/src/main.rs, and generate_token of
server/text_generation_server/models/flash_causal_lm.py. The router decides who joins, its server
how prompts are cut:

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

Exact, as far as reading goes: the above, forward by forward. Simplified: no prefix cache (see
kv/reserved.py); no speculation; no padding, as in all flash models. The v2 router's own token
arithmetic (prompt and output rounded up to blocks each) is not mirrored: ``chunking: false`` is v3
with paged attention. ``max_batch_prefill_tokens`` is 4096, at most the model length, where the
launcher estimates more for some GPUs. A request that the whole memory cannot hold is rejected; TGI
would let it, and all behind it, wait for ever. Real-time and best-effort are alike to TGI.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le

from bros_sim.core.errors import LawBroken
from bros_sim.core.world import Given, Supplied, World
from bros_sim.engine.reasons import EVERY_SECOND, PROMPTS_FIRST, TOO_FEW, Note
from bros_sim.engine.scheduler import UNTIL_EVENT, BatchView, Plan, ReplicaView
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.schedulers.tgi_queue import UNLIMITED, NextBatch, TgiQueue

Count = Annotated[int, Ge(1)]
PREFILL_TOKENS = 4096
"""Default of ``max_batch_prefill_tokens`` on a GPU that TGI's launcher does not know."""


def _total_tokens(world: World, given: Given) -> int:
    return given.number("max_total_tokens") or world.max_model_len


@dataclass(frozen=True)
class TgiParameters(SchedulerParameters):
    """TGI 3.3: first come, first served, memory reserved for life, chunked prefill or stalls.

    Works only with a KV manager that reserves. Defaults are those of TGI's launcher.
    """

    needs_reserving_kv: ClassVar[bool] = True

    chunking: Annotated[
        bool, Doc("cut prompts and run them beside decodes (v3); else decodes stand still (v2)")
    ] = True
    max_batch_prefill_tokens: Annotated[
        Count,
        Supplied(
            f"{PREFILL_TOKENS}, at most the model length",
            lambda world, _: min(PREFILL_TOKENS, world.max_model_len),
        ),
        Doc("prompt tokens of a forward"),
    ] = PREFILL_TOKENS
    max_concurrent_requests: Annotated[
        int, Ge(1), Doc("requests waiting or running; all others are rejected")
    ] = 128
    max_input_tokens: Annotated[
        Count | None,
        Supplied(
            "one less than max_total_tokens",
            lambda world, given: max(_total_tokens(world, given) - 1, 1),
        ),
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
        """What TGI's launcher and router refuse at start."""
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

    def make(self, world: World) -> "TgiScheduler":
        return TgiScheduler(self)


class TgiScheduler:
    """One forward of TGI's batching loop an iteration."""

    def __init__(self, parameters: TgiParameters) -> None:
        self.overhead_share = parameters.overhead_share
        self.chunking = parameters.chunking
        self.max_batch_prefill_tokens = parameters.max_batch_prefill_tokens
        self.max_concurrent_requests = parameters.max_concurrent_requests
        self.max_input_tokens = parameters.max_input_tokens
        self.max_total_tokens = parameters.max_total_tokens
        self.max_batch_size = parameters.max_batch_size
        self.waiting_served_ratio = parameters.waiting_served_ratio
        self.max_waiting_tokens = parameters.max_waiting_tokens
        self._here = 0
        """Requests that wait or run."""
        self._last_size = 0
        """Members of the batch in the last forward, finished ones included."""
        self._waiting_tokens = 0
        """Forwards since newcomers came last, theirs included."""
        self._owes_decode = False
        """Whether the last forward admitted beside others, so that the next one does not."""
        self._queue = TgiQueue(chunking=self.chunking)

    def set_true_length(self, seq: SequenceView, output_tokens: int) -> None:
        pass

    def submit(self, seq: SequenceView) -> bool:
        """The router's validation and its limit on requests."""
        longest, total = self.max_input_tokens, self.max_total_tokens
        if self._here >= self.max_concurrent_requests:
            return False
        if longest is not None and seq.prompt_tokens > longest:
            return False
        if total is not None and seq.prompt_tokens + seq.max_tokens > total:
            return False
        self._queue.append(seq)
        self._here += 1
        return True

    def finished(self, seq: SequenceView) -> None:
        self._here -= 1

    def waiting_seqs(self) -> Iterable[SequenceView]:
        """Waiting requests in order of arrival."""
        return iter(self._queue)

    def plan(self, view: ReplicaView) -> Plan:
        """The next forward of the loop: one that admits, or a decode."""
        self._waiting_tokens += len(view.last_durations_s)
        chunks = self._next_chunks(view.batch)
        beside = len(view.batch) > 0
        batch = self._next_batch(view, sum(tokens for _, tokens in chunks))
        stalls = beside and bool(batch.taken) and not self.chunking
        if not stalls and not view.kv.extend_decodes():
            raise LawBroken("tgi lacks memory for a decode: its KV manager does not reserve")
        notes = self._notes(batch, view.batch, stalls=stalls) if view.explain else ()
        self._join(batch, len(view.batch))
        chunks += batch.taken
        return Plan(
            tuple(chunks),
            tuple((seq, 0) for seq, _ in batch.taken),
            repeat=1 if chunks else self._repeat(batch.barred),
            stalls=stalls,
            notes=notes,
        )

    # -- the router -----------------------------------------------------------------------------

    def _next_batch(self, view: ReplicaView, prefilling: int) -> NextBatch:
        """Who joins now; ``prefilling`` are the tokens of prompts that go on."""
        budget, size = self.max_batch_prefill_tokens, len(view.batch)
        most = UNLIMITED if self.max_batch_size is None else self.max_batch_size
        if not size:
            return self._queue.next_batch(view.kv, budget=budget, max_size=most)
        if self._owes_decode:
            return NextBatch((), self._queue.barred(EVERY_SECOND))
        if self.chunking:
            current = prefilling + view.num_decodes
            return self._queue.next_batch(view.kv, budget=max(budget - current, 0))
        fewest = int(np.float32(size) * np.float32(self.waiting_served_ratio))
        if self._waiting_tokens >= self.max_waiting_tokens:
            fewest = 0
        most = max(most - size, 0)
        return self._queue.next_batch(view.kv, budget=budget, min_size=fewest, max_size=most)

    def _join(self, batch: NextBatch, beside: int) -> None:
        """Newcomers enter the batch beside others."""
        self._owes_decode = beside > 0 and bool(batch.taken)
        if batch.taken:
            self._waiting_tokens = 0
        self._last_size = beside + len(batch.taken)

    def _repeat(self, barred: Note | None) -> int:
        """Forwards for which the answer stays: only a finish gives room, tokens and seats."""
        if barred is not None and barred.reason == EVERY_SECOND:
            return 1
        if barred is not None and barred.reason == TOO_FEW:
            return self.max_waiting_tokens - self._waiting_tokens
        return UNTIL_EVENT

    # -- the server -----------------------------------------------------------------------------

    def _next_chunks(self, batch: BatchView) -> list[tuple[SequenceView, int]]:
        """What each cut prompt computes next, the newest served first; in order of the batch."""
        budget = self.max_batch_prefill_tokens - (self._last_size - 1)
        chunks: list[tuple[SequenceView, int]] = []
        for seq in reversed(list(batch.outside.values())):
            tokens = max(min(seq.num_tokens - seq.num_computed, budget), 1)
            budget -= tokens
            chunks.append((seq, tokens))
        return chunks[::-1]

    def _notes(self, batch: NextBatch, running: BatchView, *, stalls: bool) -> tuple[Note, ...]:
        """Why the head waits, and why all in the batch do."""
        head = () if batch.barred is None else (batch.barred,)
        if not stalls:
            return head
        first = batch.taken[0][0]
        return (*head, *(Note(seq, PROMPTS_FIRST, first) for seq in running))
