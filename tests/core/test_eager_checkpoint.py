"""Eager checkpoints: against a model with every slot written out, then rule by rule."""

from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest
from checkpoint_model import CheckpointModel
from simulations import UNEVEN, make_replica, make_request, run

from bros_sim.core.errors import LawBroken
from bros_sim.core.request import ServiceClass
from bros_sim.engine.kv_cache import Direction
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.eager_checkpoint import EagerCheckpointKV, SavedBlock
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import EagerCheckpointParameters, PagedParameters
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

RT, BE = ServiceClass.RT, ServiceClass.BE
OUT, IN = Direction.TO_CPU, Direction.TO_GPU


class Campaign:
    """Random drafts, commits and iterations, done to the manager and to the model alike.

    It plays replica and policy within their contracts. Without a prefix cache on the GPU, so that
    all that comes back comes from the CPU; `PagedKV`'s own cache is compared with vLLM elsewhere.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.random = Random(f"{seed} {size}")
        blocks = self.random.randint(4, 14) * (4 if size == 1 else 2 if size == 2 else 1)
        cpu_blocks = self.random.choice([0, 2, blocks // 2, 8 * blocks])
        self.kv = EagerCheckpointKV(
            EagerCheckpointParameters(
                blocks + 1, size, enable_prefix_caching=False, cpu_blocks=cpu_blocks
            )
        )
        self.model = CheckpointModel(blocks, size, cpu_blocks)
        self.clock = SimpleNamespace(iteration=0, last_end_s=0.0)
        self.running: dict[int, Sequence] = {}
        self.waiting: dict[int, Sequence] = {}
        self.last_id = 0
        self.operations = 0
        self.seen: Counter[str] = Counter()

    # -- one iteration --------------------------------------------------------------------------

    def iteration(self) -> None:
        self.begin_draft()
        if self.random.random() < 0.1:
            self.a_draft_that_is_rolled_back()
        self.draft()
        self.kv.commit()
        copying = self.compare_copies()
        self.apply()
        self.compute(copying)
        for seq in list(self.running.values()):
            if self.random.random() < 0.05:
                self.finish(seq)
        self.compare()

    def begin_draft(self) -> None:
        self.evicted: dict[int, Sequence] = {}
        self.admitted: dict[int, int] = {}
        self.chunks: dict[int, int] = {}
        self.decoding: list[Sequence] = []

    def draft(self) -> None:
        for _ in range(self.random.randint(0, 3)):
            self.any_change()
        self.stalls = self.random.random() < 0.1
        if not self.stalls and not self.extend_decodes():
            self.one_by_one()
        for _ in range(self.random.randint(0, 2)):
            self.admit()

    def any_change(self) -> None:
        seq = self.random.choice([*self.running.values(), None, None])
        if seq is None:
            self.admit()
        elif self.random.random() < 0.25:
            self.evict(seq)
        elif not seq.decoding and seq.id not in self.chunks:
            self.extend(seq)

    def one_by_one(self) -> None:
        for seq in self.members():
            if self.random.random() < 0.8 and self.extend(seq):
                self.decoding.append(seq)

    def a_draft_that_is_rolled_back(self) -> None:
        before, running, waiting = self.model.copy(), dict(self.running), dict(self.waiting)
        mark = self.kv.mark()
        self.draft()
        if self.running:
            self.finish(self.random.choice(list(self.running.values())), leaves=False)
        self.kv.rollback(mark)
        self.model.become(before)
        self.running, self.waiting = running, waiting
        self.begin_draft()
        self.operations += 1
        self.compare()

    def apply(self) -> None:
        """What a replica does with a plan."""
        for seq in self.evicted.values():
            seq.leave()
            seq.drop_kv()
        if not self.stalls:
            for seq in self.members():
                if seq not in self.decoding:
                    self.kv.leave(seq)
                    seq.leave()
                    self.seen["paused"] += 1
        for number, back in self.admitted.items():
            self.running[number].hit(back)

    def compute(self, copying: bool) -> None:
        if not self.stalls:
            spare = 0 if self.chunks else self.compare_spare(copying)
            iterations = 1 + min(spare, self.random.choice([0, 1, 3, 40]))
            for _ in range(iterations - 1):
                assert self.model.extend_decodes([seq.id for seq in self.members()])
            self.clock.iteration += iterations
        self.kv.advance(0 if self.stalls else iterations)
        for number, tokens in self.chunks.items():
            seq = self.running[number]
            if seq.run(tokens, 0.0):
                self.kv.join(seq)
                seq.join(self.clock)
        self.operations += 1
        self.compare()

    # -- operations, each done twice -------------------------------------------------------------

    def admit(self) -> None:
        """A new request, or one that was evicted before this draft."""
        again = [seq for seq in self.waiting.values() if seq.id not in self.evicted]
        seq = self.random.choice([*again, *again, None]) or self.new_seq()
        hit = self.kv.lookup(seq)
        back = len(hit) * self.kv.block_size
        assert back == self.model.lookup(seq.id, seq.num_tokens)
        tokens = self.random.choice([seq.num_tokens, self.random.randint(back + 1, seq.num_tokens)])
        must_fit = self.random.choice([0, seq.num_tokens])
        spare = self.random.choice([0, 0, 0, 1, 3])
        mark = self.kv.mark()
        fits = self.kv.admit(seq, tokens, hit, must_fit=must_fit, spare=spare)
        expected = self.model.admit(seq.id, tokens, back, must_fit, spare)
        if fits:
            self.waiting.pop(seq.id, None)
            self.running[seq.id] = seq
            self.admitted[seq.id] = back
            self.chunks[seq.id] = tokens - back
            self.seen["comes back"] += back > 0
        self.done("admit", fits, expected, mark)

    def new_seq(self) -> Sequence:
        self.last_id += 1
        longest = self.random.choice([1, 2, 4]) * self.model.size + 2
        service_class = self.random.choice([RT, BE, BE])
        self.model.be[self.last_id] = service_class is BE
        prompt = self.random.randint(1, longest)
        request = make_request(prompt=prompt, output=10**6, service_class=service_class)
        return Sequence(self.last_id, request, 0.0)

    def extend(self, seq: Sequence) -> bool:
        tokens = 1 if seq.decoding else self.random.randint(1, seq.num_tokens - seq.num_computed)
        mark = self.kv.mark()
        fits = self.kv.extend(seq, seq.num_computed + tokens)
        expected = self.model.extend(seq.id, seq.num_computed + tokens)
        if fits and not seq.decoding:
            self.chunks[seq.id] = tokens
        self.done("extend", fits, expected, mark)
        return fits

    def extend_decodes(self) -> bool:
        members = self.members()
        mark = self.kv.mark()
        fits = self.kv.extend_decodes()
        self.done("extend_decodes", fits, self.model.extend_decodes([x.id for x in members]), mark)
        if fits:
            self.decoding = members
        return fits

    def evict(self, seq: Sequence) -> None:
        self.kv.release(seq, resumable=True)
        self.model.release(seq.id, for_good=False)
        del self.running[seq.id]
        self.chunks.pop(seq.id, None)
        self.waiting[seq.id] = seq
        if not self.admitted.pop(seq.id, None) and seq.num_computed:
            self.evicted[seq.id] = seq
        self.operations += 1
        self.compare()

    def finish(self, seq: Sequence, *, leaves: bool = True) -> None:
        self.kv.release(seq, resumable=False)
        self.model.release(seq.id, for_good=True)
        if leaves:
            seq.leave()
        del self.running[seq.id]
        self.operations += 1

    # -- comparing ------------------------------------------------------------------------------

    def done(self, what: str, fits: bool, expected: bool, mark: int) -> None:
        assert fits == expected, what
        assert fits or self.kv.mark() == mark, "what failed changed something"
        self.seen[f"{what} {fits}"] += 1
        self.operations += 1
        self.compare()

    def compare(self) -> None:
        self.model.check()
        assert self.kv.free_blocks == len(self.model.free)
        for seq in self.waiting.values():
            back = len(self.kv.lookup(seq)) * self.kv.block_size
            assert back == self.model.lookup(seq.id, seq.num_tokens)
        if not self.kv.mark():
            self.kv.check(self.running.values())

    def compare_copies(self) -> bool:
        full = len(self.model.cpu) == self.model.cpu_slots
        self.model.save({i: seq.num_computed for i, seq in self.running.items()})
        copies = self.kv.take_copies()
        tokens: Counter[tuple[str, int]] = Counter()
        for copy in copies:
            tokens[copy.direction.value, copy.seq.id] += copy.tokens
            assert copy.tokens > 0
            assert not copy.blocks
        assert tokens == self.model.copies
        self.model.copies.clear()
        self.seen.update(direction for direction, _ in tokens)
        self.seen["the CPU is full"] += full
        return bool(copies)

    def compare_spare(self, copying: bool) -> int:
        """The manager's answer is exactly how far the model can go on before a copy is due."""
        spare, members = self.kv.spare_iterations(), self.members()
        twin, steps = self.model.copy(), 0
        while members and not copying and steps <= min(spare, 60):
            fills = [x for x in members if x.service_class is BE]
            if any((x.num_computed + 1 + steps) % twin.size == 0 for x in fills) and twin.cpu_slots:
                self.seen["a block fills"] += 1
                break
            if not twin.extend_decodes([seq.id for seq in members]):
                break
            steps += 1
        assert min(spare, 61) == steps
        return spare

    def members(self) -> list[Sequence]:
        return [seq for seq in self.running.values() if seq.decoding]


EVENTS = {
    *(f"{verb} {fits}" for verb in ("admit", "extend", "extend_decodes") for fits in (True, False)),
    *("to_cpu", "to_gpu", "comes back", "paused", "the CPU is full", "a block fills"),
}


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_manager_agrees_with_every_slot_written_out(size):
    seen, operations, seed = Counter[str](), 8_000, 0
    while operations > 0:
        campaign = Campaign(seed, size)
        for _ in range(60):
            campaign.iteration()
        operations -= campaign.operations
        seen += campaign.seen
        seed += 1
    assert seen.keys() >= EVENTS


# -- rule by rule ---------------------------------------------------------------------------------


def cache(*, blocks: int = 8, cpu_blocks: int = 8, caching: bool = False) -> EagerCheckpointKV:
    return EagerCheckpointKV(
        EagerCheckpointParameters(
            blocks + 1, 4, enable_prefix_caching=caching, cpu_blocks=cpu_blocks
        )
    )


def computes(kv: EagerCheckpointKV, tokens: int, service_class: ServiceClass = BE) -> Sequence:
    """A new request that computed so many tokens of a longer prompt in an iteration of its own."""
    request = make_request(prompt=30, output=9, service_class=service_class)
    seq = Sequence(1 + len(kv._tables), request, 0.0)
    assert kv.admit(seq, tokens, (), must_fit=0, spare=0)
    assert plan(kv) == []
    seq.run(tokens, 0.0)
    return seq


def plan(kv: EagerCheckpointKV) -> list[tuple[Direction, int, int]]:
    """What a plan without further changes copies."""
    kv.commit()
    return [(copy.direction, copy.seq.id, copy.tokens) for copy in kv.take_copies()]


def evict(kv: EagerCheckpointKV, seq: Sequence) -> None:
    kv.release(seq, resumable=True)
    seq.drop_kv()


def test_full_blocks_are_saved_with_the_next_iteration_and_only_once():
    kv = cache()
    seq = computes(kv, 10)
    assert plan(kv) == [(OUT, seq.id, 8)]
    assert plan(kv) == []
    assert kv.extend(seq, 13)
    assert plan(kv) == []  # those three are computed in that iteration
    seq.run(3, 0.0)
    assert plan(kv) == [(OUT, seq.id, 4)]


def test_real_time_seqs_are_not_saved():
    kv = cache()
    seq = computes(kv, 10, RT)
    assert plan(kv) == []
    evict(kv, seq)
    assert list(kv.lookup(seq)) == []


def test_a_preemption_moves_nothing_and_what_was_saved_comes_back():
    kv = cache()
    seq = computes(kv, 10)
    plan(kv)
    evict(kv, seq)
    assert plan(kv) == []
    assert kv.free_blocks == 8
    hit = kv.lookup(seq)
    assert len(hit) == 2  # the third block was not full
    assert kv.admit(seq, 10, hit, must_fit=0, spare=0)
    assert kv.free_blocks == 5
    assert plan(kv) == [(IN, seq.id, 8)]
    seq.hit(8)
    seq.run(2, 0.0)
    assert plan(kv) == []  # it is on the CPU still
    evict(kv, seq)
    assert len(kv.lookup(seq)) == 2


def test_a_block_that_filled_just_before_the_preemption_is_lost():
    kv = cache()
    seq = computes(kv, 10)
    evict(kv, seq)
    assert plan(kv) == []
    assert list(kv.lookup(seq)) == []


def test_saved_blocks_need_room_on_the_gpu_and_a_refused_admission_copies_nothing():
    kv = cache(blocks=4)
    seq = computes(kv, 12)
    plan(kv)
    evict(kv, seq)
    computes(kv, 8, RT)
    assert not kv.admit(seq, 13, kv.lookup(seq), must_fit=0, spare=0)
    assert plan(kv) == []


def test_what_the_gpu_still_holds_is_hit_there():
    kv = cache(blocks=6, caching=True)
    seq = computes(kv, 20)
    plan(kv)
    evict(kv, seq)
    other = Sequence(9, make_request(prompt=30, service_class=RT), 0.0)
    assert kv.admit(other, 14, (), must_fit=0, spare=0)  # 4 of 6 blocks, the last 3 of the request
    hit = kv.lookup(seq)
    assert [isinstance(block, SavedBlock) for block in hit] == [False] * 2 + [True] * 3
    kv.release(other, resumable=False)
    assert kv.admit(seq, 20, hit, must_fit=0, spare=0)
    assert plan(kv) == [(IN, seq.id, 12)]


def test_who_finds_no_room_on_the_cpu_is_saved_as_soon_as_there_is_some():
    kv = cache(cpu_blocks=2)
    first = computes(kv, 8)
    assert plan(kv) == [(OUT, first.id, 8)]
    second = computes(kv, 4)
    assert plan(kv) == []
    kv.release(first, resumable=False)
    assert plan(kv) == [(OUT, second.id, 4)]


def test_a_finished_seq_leaves_nothing_on_the_cpu():
    kv = cache()
    seq = computes(kv, 8)
    plan(kv)
    kv.release(seq, resumable=False)
    assert kv._room == 8


def mixed_run(kv: PagedKV, **policy: object):
    """RT that push BE out of a small memory, again and again."""
    be = [make_request(i, prompt=24, output=40, service_class=BE) for i in range(6)]
    rt = [make_request(6 + i, arrival_s=0.1 * i, prompt=10, output=30) for i in range(12)]
    scheduler = VllmScheduler(VllmParameters(policy="priority", **policy))
    replica = make_replica(scheduler=scheduler, kv=kv, latency=UNEVEN)
    return run(sorted([*be, *rt], key=lambda request: request.arrival_s), replica)


def test_without_room_on_the_cpu_it_is_the_paged_cache():
    plain = mixed_run(PagedKV(PagedParameters(41, 4)))
    eager = mixed_run(EagerCheckpointKV(EagerCheckpointParameters(41, 4, cpu_blocks=0)))
    assert plain.requests.equals(eager.requests)
    assert plain.steps.equals(eager.steps)
    assert plain.requests["num_preemptions"].sum() > 3


def test_preempted_best_effort_recomputes_no_more_than_the_last_blocks():
    caching = {"enable_prefix_caching": False}
    plain = mixed_run(PagedKV(PagedParameters(41, 4, **caching))).requests
    table = mixed_run(EagerCheckpointKV(EagerCheckpointParameters(41, 4, **caching)))
    preempted = table.requests["num_preemptions"]
    assert preempted.sum() > 3
    assert (table.requests["recomputed_tokens"] <= 8 * preempted).all()
    assert table.requests["recomputed_tokens"].sum() < plain["recomputed_tokens"].sum() / 2
    assert table.steps["tokens_to_gpu"].sum() > 0
    saved = table.requests["checkpointed_slots"]
    assert (saved == (24 + 40 - 2) // 4 * 4)[table.requests["class"] == "be"].all()
    assert (saved == 0)[table.requests["class"] == "rt"].all()


@pytest.mark.parametrize(
    "fault",
    [
        lambda kv, seq: setattr(kv, "_room", kv._room - 1),
        lambda kv, seq: kv._saved.update({seq.id: 9}),
        lambda kv, seq: kv._filling[0].update({seq.id: seq}),
    ],
)
def test_the_check_sees_a_broken_checkpoint(fault):
    kv = cache(cpu_blocks=9)
    seq = computes(kv, 8)
    plan(kv)
    kv.check([seq])
    fault(kv, seq)
    if kv._saved[seq.id] == 9:
        kv._room = 0
    with pytest.raises(LawBroken, match="L4"):
        kv.check([seq])
