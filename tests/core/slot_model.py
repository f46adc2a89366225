"""The rules of the bidirectional KV cache with every slot of every block written out.

A slot holds (request, token); the CPU holds a set of them. What the manager derives from counts,
this model finds by walking: token by token, slot by slot. Requests are numbers here; ``rt`` tells
the class.
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
        """Block -> real-time or not -> seq."""
        self.tables: dict[int, tuple[int, ...]] = {}
        self.room: dict[int, int] = {}
        self.rt: dict[int, bool] = {}
        self.cpu: set[tuple[int, int]] = set()
        self.swapped: set[int] = set()
        self.batch: set[int] = set()
        self.copies: Counter[tuple[str, int, bool]] = Counter()
        """(to_cpu or to_gpu, request, by whole blocks) -> tokens."""
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

    def place(self, seq: int, token: int) -> tuple[int, int]:
        block, at = self.tables[seq][token // self.size], token % self.size
        return block, at if self.rt[seq] else self.size - 1 - at

    def own(self, seq: int, block: int) -> None:
        sides = self.owners.setdefault(block, {})
        assert self.rt[seq] not in sides, "two owners of a kind"
        sides[self.rt[seq]] = seq
        self.tables[seq] = (*self.tables[seq], block)

    def disown(self, seq: int, block: int) -> None:
        del self.owners[block][self.rt[seq]]
        if not self.owners[block]:
            del self.owners[block]
            self.free.append(block)

    def take_empty(self) -> int:
        if not self.free:
            raise DoesNotFit
        return self.free.pop()

    def write(self, seq: int, token: int) -> None:
        place = self.place(seq, token)
        assert place not in self.slots, "slot is taken"
        self.slots[place] = (seq, token)

    def to_cpu(self, seq: int, token: int, whole: bool) -> None:
        place = self.place(seq, token)
        assert self.slots.pop(place) == (seq, token)
        self.cpu.add((seq, token))
        self.copies["to_cpu", seq, whole] += 1
        if len(self.cpu) > self.cpu_slots:
            raise DoesNotFit

    def to_gpu(self, seq: int, token: int, whole: bool) -> None:
        self.cpu.remove((seq, token))
        self.write(seq, token)
        self.copies["to_gpu", seq, whole] += 1

    # -- giving room ----------------------------------------------------------------------------

    def extend(self, seq, tokens, lenders=(), decoding=(), spare=0, extra=0) -> bool:
        """Also admits: who has no table starts with an empty one. False changes nothing."""
        if seq in self.swapped and seq in decoding:
            return False
        twin = self.copy()
        try:
            if twin.rt[seq]:
                twin.extend_rt(seq, tokens, lenders, decoding, spare)
                left = len(twin.free) - spare + len(twin.lendable(lenders))
            else:
                twin.extend_be(seq, tokens)
                left = len(twin.free) - spare
        except DoesNotFit:
            return False
        if len(twin.free) < spare or left < extra:
            return False
        twin.batch.add(seq)
        self.become(twin)
        return True

    def extend_rt(self, seq, tokens, lenders, decoding, spare) -> None:
        start = self.begin(seq, tokens)
        for token in range(start, tokens):
            if token // self.size == len(self.tables[seq]):
                self.own(seq, self.empty_or_borrowed(lenders, spare))
            self.clear_the_way(self.place(seq, token), lenders, decoding)
        for token in range(start, tokens):
            if (seq, token) in self.cpu:
                self.to_gpu(seq, token, True)
            else:
                self.write(seq, token)

    def begin(self, seq: int, tokens: int) -> int:
        """The first token that is not on the GPU."""
        self.tables.setdefault(seq, ())
        start = 0 if seq in self.swapped else self.room.get(seq, 0)
        self.swapped.discard(seq)
        self.room[seq] = max(tokens, self.room.get(seq, 0))
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

    def extend_be(self, seq: int, tokens: int) -> None:
        was_swapped, before = seq in self.swapped, self.room.get(seq, 0)
        self.room[seq] = before
        self.tables.setdefault(seq, ())
        self.swapped.discard(seq)
        for index in range(len(self.tables[seq])):
            self.make_whole(seq, index, tokens, before)
        self.room[seq] = max(tokens, before)
        for token in range(0 if was_swapped else before, tokens):
            if token // self.size == len(self.tables[seq]):
                self.own(seq, self.take_empty())
            if (seq, token) in self.cpu:
                self.to_gpu(seq, token, True)
            else:
                self.write(seq, token)

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
        for seq in members:
            token = twin.room[seq]
            if any(owner == seq for owner, _ in twin.cpu):
                return False
            if token // twin.size == len(twin.tables[seq]):
                if not twin.free:
                    return False
                twin.own(seq, twin.take_empty())
            if twin.place(seq, token) in twin.slots:
                return False
            twin.room[seq] += 1
            twin.write(seq, token)
            twin.batch.add(seq)
        self.become(twin)
        return True

    # -- taking room away -----------------------------------------------------------------------

    def release(self, seq: int) -> None:
        self.vacate(seq)
        self.cpu -= {entry for entry in self.cpu if entry[0] == seq}
        self.swapped.discard(seq)
        del self.tables[seq], self.room[seq]
        self.copies = Counter({key: n for key, n in self.copies.items() if key[1] != seq})
        self.events = Counter({key: n for key, n in self.events.items() if key[1] != seq})

    def vacate(self, seq: int) -> None:
        self.batch.discard(seq)
        for place in [place for place, (owner, _) in self.slots.items() if owner == seq]:
            del self.slots[place]
        for block in self.tables[seq]:
            self.disown(seq, block)
        self.tables[seq] = ()

    def swap_out(self, seq: int, computed: int) -> bool:
        if seq in self.swapped:
            return True
        twin = self.copy()
        try:
            for token in range(computed):
                if (seq, token) not in twin.cpu:
                    twin.to_cpu(seq, token, True)
        except DoesNotFit:
            return False
        if not computed:
            return False
        twin.vacate(seq)
        twin.room[seq] = computed
        twin.swapped.add(seq)
        self.become(twin)
        return True

    # -- what must hold, and what the manager says of itself -------------------------------------

    def check(self) -> None:
        """No token lost or duplicated, all in their places, blocks conserved."""
        on_gpu, expected = set(self.slots.values()), set()
        for seq, room in self.room.items():
            expected.update((seq, token) for token in range(room))
        assert len(on_gpu) == len(self.slots), "a token is on the GPU twice"
        assert not on_gpu & self.cpu, "a token is in both places"
        assert on_gpu | self.cpu == expected, "a token is lost, or nobody's"
        assert all(self.place(*token) == place for place, token in self.slots.items())
        for seq, token in self.cpu:
            assert seq in self.swapped or not (self.rt[seq] or seq in self.batch)
            newer_here = token + 1 < self.room[seq] and (token + 1) % self.size
            assert not newer_here or (seq, token + 1) in self.cpu, "lost tokens are no suffix"
        assert len(self.cpu) <= self.cpu_slots
        assert sorted([*self.owners, *self.free]) == list(range(self.blocks))
        held = sorted((block, seq) for seq, table in self.tables.items() for block in table)
        assert held == sorted(
            (b, seq) for b, sides in self.owners.items() for seq in sides.values()
        )

    def lost(self) -> Counter[tuple[int, int]]:
        """(Best-effort request, block index) -> tokens on the CPU, of requests not swapped out."""
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
