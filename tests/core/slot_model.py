"""The rules of the bidirectional KV cache with every slot of every block written out.

A slot holds (job, token); the CPU holds a set of them. What the manager derives from counts, this
model finds by walking: token by token, slot by slot. Jobs are numbers here; ``rt`` tells the class.
"""

from collections import Counter


class DoesNotFit(Exception):
    pass


class SlotModel:
    def __init__(self, blocks: int, size: int, cpu_slots: int) -> None:
        self.size = size
        self.cpu_slots = cpu_slots
        self.blocks = blocks
        self.free = list(range(blocks))
        self.slots: dict[tuple[int, int], tuple[int, int]] = {}
        self.owners: dict[int, dict[bool, int]] = {}
        """Block -> real-time or not -> job."""
        self.tables: dict[int, tuple[int, ...]] = {}
        self.room: dict[int, int] = {}
        self.rt: dict[int, bool] = {}
        self.cpu: set[tuple[int, int]] = set()
        self.swapped: set[int] = set()
        self.batch: set[int] = set()
        self.copies: Counter[tuple[str, int, bool]] = Counter()
        """(to_cpu or to_gpu, job, by whole blocks) -> tokens."""
        self.events: Counter[tuple[str, int]] = Counter()

    def copy(self) -> "SlotModel":
        twin = object.__new__(SlotModel)
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if isinstance(value, int) else value.copy()
        twin.owners = {block: dict(sides) for block, sides in self.owners.items()}
        return twin

    def become(self, other: "SlotModel") -> None:
        self.__dict__ = other.__dict__

    # -- slots ----------------------------------------------------------------------------------

    def place(self, job: int, token: int) -> tuple[int, int]:
        block, at = self.tables[job][token // self.size], token % self.size
        return block, at if self.rt[job] else self.size - 1 - at

    def own(self, job: int, block: int) -> None:
        sides = self.owners.setdefault(block, {})
        assert self.rt[job] not in sides, "two owners of a kind"
        sides[self.rt[job]] = job
        self.tables[job] = (*self.tables[job], block)

    def disown(self, job: int, block: int) -> None:
        del self.owners[block][self.rt[job]]
        if not self.owners[block]:
            del self.owners[block]
            self.free.append(block)

    def take_empty(self) -> int:
        if not self.free:
            raise DoesNotFit
        return self.free.pop()

    def write(self, job: int, token: int) -> None:
        place = self.place(job, token)
        assert place not in self.slots, "slot is taken"
        self.slots[place] = (job, token)

    def to_cpu(self, job: int, token: int, whole: bool) -> None:
        place = self.place(job, token)
        assert self.slots.pop(place) == (job, token)
        self.cpu.add((job, token))
        self.copies["to_cpu", job, whole] += 1
        if len(self.cpu) > self.cpu_slots:
            raise DoesNotFit

    def to_gpu(self, job: int, token: int, whole: bool) -> None:
        self.cpu.remove((job, token))
        self.write(job, token)
        self.copies["to_gpu", job, whole] += 1

    # -- giving room ----------------------------------------------------------------------------

    def extend(self, job, tokens, lenders=(), decoding=(), spare=0, extra=0) -> bool:
        """Also admits: a job without a table starts with an empty one. False changes nothing."""
        if job in self.swapped and job in decoding:
            return False
        twin = self.copy()
        try:
            if twin.rt[job]:
                twin.extend_rt(job, tokens, lenders, decoding, spare)
                left = len(twin.free) - spare + len(twin.lendable(lenders))
            else:
                twin.extend_be(job, tokens)
                left = len(twin.free) - spare
        except DoesNotFit:
            return False
        if len(twin.free) < spare or left < extra:
            return False
        twin.batch.add(job)
        self.become(twin)
        return True

    def extend_rt(self, job, tokens, lenders, decoding, spare) -> None:
        start = self.begin(job, tokens)
        for token in range(start, tokens):
            if token // self.size == len(self.tables[job]):
                self.own(job, self.empty_or_borrowed(lenders, spare))
            self.clear_the_way(self.place(job, token), lenders, decoding)
        for token in range(start, tokens):
            if (job, token) in self.cpu:
                self.to_gpu(job, token, True)
            else:
                self.write(job, token)

    def begin(self, job: int, tokens: int) -> int:
        """The first token that is not on the GPU."""
        self.tables.setdefault(job, ())
        start = 0 if job in self.swapped else self.room.get(job, 0)
        self.swapped.discard(job)
        self.room[job] = max(tokens, self.room.get(job, 0))
        return start

    def empty_or_borrowed(self, lenders, spare) -> int:
        if len(self.free) > spare:
            return self.take_empty()
        for block in self.lendable(lenders):
            return block
        raise DoesNotFit

    def lendable(self, lenders) -> list[int]:
        gaps, full = [], []
        for be in lenders:
            if be not in self.tables or self.rt[be] or be in self.batch:
                continue
            for i in reversed(range(len(self.tables[be]))):
                block = self.tables[be][i]
                if True not in self.owners[block]:
                    partly = self.room[be] < (i + 1) * self.size
                    (gaps if partly else full).append(block)
        return gaps + full

    def clear_the_way(self, place, lenders, decoding) -> None:
        if place not in self.slots:
            return
        be, token = self.slots[place]
        assert not self.rt[be]
        if be in self.batch or (be in decoding and be not in lenders):
            self.move_away(be, token // self.size)
            self.events["rt_moved_be", be] += 1
        else:
            self.to_cpu(be, token, False)
            self.events["checkpointed", be] += 1

    def move_away(self, be: int, index: int) -> None:
        """A best-effort block goes to an empty one; what it lost comes along from the CPU."""
        old, new = self.tables[be][index], self.take_empty()
        first = index * self.size
        here = range(first, min(self.room[be], first + self.size))
        resident = [t for t in here if self.slots.get(self.place(be, t)) == (be, t)]
        for t in resident:
            del self.slots[self.place(be, t)]
        self.disown(be, old)
        self.owners[new] = {False: be}
        table = self.tables[be]
        self.tables[be] = (*table[:index], new, *table[index + 1 :])
        self.events["relocated", be] += 1
        for t in here:
            if t in resident:
                self.write(be, t)
            else:
                self.restore(be, t)

    def restore(self, be: int, token: int) -> None:
        if (be, token) in self.cpu:
            self.to_gpu(be, token, False)
            self.events["restored", be] += 1

    def extend_be(self, job: int, tokens: int) -> None:
        was_swapped, before = job in self.swapped, self.room.get(job, 0)
        self.room[job] = before
        self.tables.setdefault(job, ())
        self.swapped.discard(job)
        for index in range(len(self.tables[job])):
            self.make_whole(job, index, tokens, before)
        self.room[job] = max(tokens, before)
        for token in range(0 if was_swapped else before, tokens):
            if token // self.size == len(self.tables[job]):
                self.own(job, self.take_empty())
            if (job, token) in self.cpu:
                self.to_gpu(job, token, True)
            else:
                self.write(job, token)

    def make_whole(self, be: int, index: int, tokens: int, before: int) -> None:
        first = index * self.size
        needed = range(first, min(max(tokens, before), first + self.size))
        inside = [self.slots.get(self.place(be, t)) for t in needed]
        if any(slot and slot[0] != be for slot in inside):
            self.move_away(be, index)
        else:
            for t in needed:
                self.restore(be, t)

    def extend_decodes(self, members) -> bool:
        """Every member's next token lands in an empty slot of its own, or nothing happens."""
        twin = self.copy()
        for job in members:
            token = twin.room[job]
            if any(owner == job for owner, _ in twin.cpu):
                return False
            if token // twin.size == len(twin.tables[job]):
                if not twin.free:
                    return False
                twin.own(job, twin.take_empty())
            if twin.place(job, token) in twin.slots:
                return False
            twin.room[job] += 1
            twin.write(job, token)
            twin.batch.add(job)
        self.become(twin)
        return True

    # -- taking room away -----------------------------------------------------------------------

    def release(self, job: int) -> None:
        self.vacate(job)
        self.cpu -= {entry for entry in self.cpu if entry[0] == job}
        self.swapped.discard(job)
        del self.tables[job], self.room[job]
        self.copies = Counter({key: n for key, n in self.copies.items() if key[1] != job})
        self.events = Counter({key: n for key, n in self.events.items() if key[1] != job})

    def vacate(self, job: int) -> None:
        self.batch.discard(job)
        for place in [place for place, (owner, _) in self.slots.items() if owner == job]:
            del self.slots[place]
        for block in self.tables[job]:
            self.disown(job, block)
        self.tables[job] = ()

    def swap_out(self, job: int, computed: int) -> bool:
        if job in self.swapped:
            return True
        twin = self.copy()
        try:
            for token in range(computed):
                if (job, token) not in twin.cpu:
                    twin.to_cpu(job, token, True)
        except DoesNotFit:
            return False
        if not computed:
            return False
        twin.vacate(job)
        twin.room[job] = computed
        twin.swapped.add(job)
        self.become(twin)
        return True

    # -- what must hold, and what the manager says of itself -------------------------------------

    def check(self) -> None:
        """No token lost or duplicated, all in their places, blocks conserved."""
        on_gpu, expected = set(self.slots.values()), set()
        for job, room in self.room.items():
            expected.update((job, token) for token in range(room))
        assert len(on_gpu) == len(self.slots), "a token is on the GPU twice"
        assert not on_gpu & self.cpu, "a token is in both places"
        assert on_gpu | self.cpu == expected, "a token is lost, or nobody's"
        assert all(self.place(*token) == place for place, token in self.slots.items())
        for job, token in self.cpu:
            assert job in self.swapped or not (self.rt[job] or job in self.batch)
            newer_here = token + 1 < self.room[job] and (token + 1) % self.size
            assert not newer_here or (job, token + 1) in self.cpu, "lost tokens are no suffix"
        assert len(self.cpu) <= self.cpu_slots
        assert sorted([*self.owners, *self.free]) == list(range(self.blocks))
        held = sorted((block, job) for job, table in self.tables.items() for block in table)
        assert held == sorted(
            (b, job) for b, sides in self.owners.items() for job in sides.values()
        )

    def lost(self) -> Counter[tuple[int, int]]:
        """(Best-effort job, block index) -> tokens on the CPU, of jobs not swapped out."""
        return Counter((j, t // self.size) for j, t in self.cpu if j not in self.swapped)

    def shared(self) -> set[tuple[int, int, int | None, int, int]]:
        """(BE, index, RT or None, its index, lost) of blocks with two owners or losses."""
        lost, found = self.lost(), set()
        for be, table in self.tables.items():
            if self.rt[be]:
                continue
            for index, block in enumerate(table):
                rt = self.owners[block].get(True)
                at = -1 if rt is None else self.tables[rt].index(block)
                if rt is not None or lost[be, index]:
                    found.add((be, index, rt, at, lost[be, index]))
        return found
