"""The block pool and the crossings against models that write every block out."""

from collections import OrderedDict
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from bros_sim.kv.base import Journal
from bros_sim.kv.crossings import Crossings
from bros_sim.kv.pool import BlockPool


class NaivePool:
    """vLLM's BlockPool block by block: an ordered dict of free block ids."""

    def __init__(self, blocks: int, unhashed_first: bool) -> None:
        self.free = OrderedDict.fromkeys(range(blocks))
        self.keys: dict[int, object] = {}
        self.refs = dict.fromkeys(range(blocks), 0)
        self.cache: dict[object, list[int]] = {}
        self.unhashed_first = unhashed_first

    def take(self, count: int) -> list[int]:
        taken = [self.free.popitem(last=False)[0] for _ in range(count)]
        for block in taken:
            key = self.keys.pop(block, None)
            if isinstance(key, str):
                self.cache[key].remove(block)
            self.refs[block] = 1
        return taken

    def register(self, block: int, key: object) -> None:
        self.keys[block] = key
        if isinstance(key, str):
            self.cache.setdefault(key, []).append(block)

    def hit(self, key: str) -> int | None:
        return (self.cache.get(key) or [None])[0]

    def touch(self, block: int) -> None:
        if self.refs[block] == 0:
            del self.free[block]
        self.refs[block] += 1

    def drop(self, block: int) -> None:
        self.refs[block] -= 1
        if self.refs[block] == 0:
            self.free[block] = None
            if block not in self.keys and self.unhashed_first:
                self.free.move_to_end(block, last=False)

    def listed(self) -> list[object]:
        keys = (self.keys.get(block) for block in self.free)
        return [key if isinstance(key, str) else None for key in keys]


def written_out(pool: BlockPool) -> list[object]:
    return [key for block in pool._list for key in [block.key] * block.count]


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[str, int, str]]:
    step = st.tuples(
        st.sampled_from(["take", "give", "give", "hit", "drop", "undo"]),
        st.integers(1, 6),
        st.sampled_from("abcd"),
    )
    return draw(st.lists(step, max_size=60))


@given(scripts(), st.booleans())
@settings(max_examples=300)
def test_pool_keeps_the_free_list_of_the_block_by_block_model(script, unhashed_first):
    """Runs of anonymous blocks, hits and evictions; every other change is undone and redone."""
    journal = Journal()
    pool = BlockPool(20, journal, caching=True, unhashed_first=unhashed_first)
    naive = NaivePool(20, unhashed_first)
    private: list[int] = []
    shared: list[tuple[object, int]] = []
    for verb, count, key in script:
        before = written_out(pool), pool.free
        for attempt in ("undone", "kept"):
            mark = journal.mark()
            change(pool, verb, count, key, len(private), [block for block, _ in shared])
            if attempt == "undone":
                journal.rollback(mark)
                assert (written_out(pool), pool.free) == before
        mirror(naive, verb, count, key, private, shared, pool)
        assert written_out(pool) == naive.listed()
        assert pool.free == len(naive.free) == pool.listed()


LAST: dict[str, object] = {}


def change(pool, verb, count, key, privates, shared) -> None:
    LAST.clear()
    if verb == "take" and count <= pool.free:
        pool.take(count)
        LAST["registered"] = pool.register(key)
    elif verb == "give" and privates:
        pool.give(min(count, privates), hashed=count % 2 == 0)
    elif verb == "hit" and (block := pool.cached(key)) is not None:
        pool.touch(block)
        LAST["hit"] = block
    elif verb == "drop" and shared:
        pool.drop(shared[count % len(shared)])


def mirror(naive, verb, count, key, private, shared, pool) -> None:
    if verb == "take" and "registered" in LAST:
        *plain, named = naive.take(count)
        private += plain
        naive.register(named, key)
        shared.append((LAST["registered"], named))
    elif verb == "give" and private:
        for block in [private.pop() for _ in range(min(count, len(private)))]:
            if count % 2 == 0:
                naive.register(block, 0)
            naive.drop(block)
    elif verb == "hit" and "hit" in LAST:
        block = naive.hit(key)
        naive.touch(block)
        shared.append((LAST["hit"], block))
    elif verb == "drop" and shared:
        _, block = shared.pop(count % len(shared))
        naive.drop(block)


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=20),
)
def test_crossings_count_what_each_member_needs(block_size, script):
    crossings, members = Crossings(block_size), []

    def needed(tokens: list[int]) -> int:
        return sum(n % block_size == 0 for n in tokens)

    for tokens, iterations in script:
        crossings.add(tokens)
        members.append(tokens)
        assert crossings.due() == needed(members)
        later = [needed([n + i for n in members]) for i in range(1, iterations + 100)]
        budget = sum(later[: iterations - 1])
        reach = crossings.iterations_within(budget)
        assert sum(later[:reach]) <= budget < sum(later[: reach + 1])
        assert crossings.advance(iterations) == budget
        members = [n + iterations for n in members]
        if len(members) > 3:
            crossings.remove(members.pop(0))


def test_runs_are_joined():
    pool = BlockPool(10, Journal(), caching=True, unhashed_first=False)
    pool.take(6)
    for count in (1, 2, 3):
        pool.give(count, hashed=True)
    assert [block.count for block in pool._list] == [10]
    assert [sum(1 for _ in run) for _, run in groupby(written_out(pool))] == [10]
