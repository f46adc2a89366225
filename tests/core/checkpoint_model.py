"""The rules of eager checkpoints with every slot of the GPU and of the CPU written out.

A slot holds (request, token). What the manager derives from counts, phases and notes, this model
finds by walking over all requests, blocks and tokens. Requests are numbers; ``be`` names the
best-effort ones.
"""

from collections import Counter


class CheckpointModel:
    def __init__(self, blocks: int, size: int, cpu_blocks: int) -> None:
        self.size, self.blocks, self.cpu_slots = size, blocks, cpu_blocks * size
        self.free = list(range(blocks))
        self.tables: dict[int, tuple[int, ...]] = {}
        self.slots: dict[tuple[int, int], tuple[int, int]] = {}
        self.room: dict[int, int] = {}
        self.cpu: frozenset[tuple[int, int]] = frozenset()
        self.be: dict[int, bool] = {}
        self.copies: Counter[tuple[str, int]] = Counter()
        """(to_cpu or to_gpu, request) -> tokens."""

    def copy(self) -> "CheckpointModel":
        twin = object.__new__(CheckpointModel)
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if isinstance(value, int | frozenset) else value.copy()
        return twin

    def become(self, other: "CheckpointModel") -> None:
        self.__dict__ = other.__dict__

    # -- what a policy writes -------------------------------------------------------------------

    def lookup(self, seq: int, known: int) -> int:
        """Tokens that come back: whole blocks, all of whose tokens are there, but for the last."""
        tokens = 0
        while tokens + self.size < known and self.all_saved(seq, tokens):
            tokens += self.size
        return tokens

    def all_saved(self, seq: int, first: int) -> bool:
        return all((seq, token) in self.cpu for token in range(first, first + self.size))

    def admit(self, seq: int, tokens: int, back: int, must_fit: int, spare: int) -> bool:
        if self.needed(max(tokens, must_fit)) + spare > len(self.free):
            return False
        self.tables[seq], self.room[seq] = (), 0
        self.grow(seq, tokens)
        if back:
            self.copies["to_gpu", seq] += back
        assert all((seq, token) in self.cpu for token in range(back)), "restored from nowhere"
        return True

    def extend(self, seq: int, tokens: int) -> bool:
        if self.needed(tokens) - len(self.tables[seq]) > len(self.free):
            return False
        self.grow(seq, tokens)
        return True

    def extend_decodes(self, members: list[int]) -> bool:
        twin = self.copy()
        for seq in members:
            if not twin.extend(seq, twin.room[seq] + 1):
                return False
        self.become(twin)
        return True

    def needed(self, tokens: int) -> int:
        return len(range(0, tokens, self.size))

    def grow(self, seq: int, tokens: int) -> None:
        for token in range(self.room[seq], tokens):
            if token // self.size == len(self.tables[seq]):
                self.tables[seq] = (*self.tables[seq], self.free.pop())
            place = (self.tables[seq][token // self.size], token % self.size)
            assert place not in self.slots
            self.slots[place] = (seq, token)
        self.room[seq] = max(tokens, self.room[seq])

    def release(self, seq: int, *, for_good: bool) -> None:
        for block in self.tables.pop(seq):
            self.free.append(block)
        self.slots = {at: what for at, what in self.slots.items() if what[0] != seq}
        self.copies = Counter({key: n for key, n in self.copies.items() if key[1] != seq})
        del self.room[seq]
        if for_good:
            self.cpu = frozenset(entry for entry in self.cpu if entry[0] != seq)

    # -- saving ---------------------------------------------------------------------------------

    def save(self, computed: dict[int, int]) -> None:
        """Every full block of every best-effort request on the GPU, as long as there is room."""
        for seq in sorted(self.tables):
            first = 0
            while self.be[seq] and first + self.size <= computed[seq]:
                tokens = [(seq, token) for token in range(first, first + self.size)]
                if not self.cpu.issuperset(tokens):
                    if len(self.cpu) + self.size > self.cpu_slots:
                        break
                    assert set(tokens) <= set(self.slots.values()), "saved from nowhere"
                    self.cpu |= frozenset(tokens)
                    self.copies["to_cpu", seq] += self.size
                first += self.size

    # -- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        held = [block for table in self.tables.values() for block in table]
        assert sorted([*held, *self.free]) == list(range(self.blocks))
        expected = {(seq, token) for seq, room in self.room.items() for token in range(room)}
        assert set(self.slots.values()) == expected, "a token is lost, or nobody's"
        assert len(self.slots) == len(expected), "a token is on the GPU twice"
        assert len(self.cpu) <= self.cpu_slots
