"""The rules of eager checkpoints with every slot of the GPU and of the CPU written out.

A slot holds (job, token). What the manager derives from counts, phases and notes, this model finds
by walking over all jobs, blocks and tokens. Jobs are numbers; ``be`` names the best-effort ones.
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
        """(to_cpu or to_gpu, job) -> tokens."""

    def copy(self) -> "CheckpointModel":
        twin = object.__new__(CheckpointModel)
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value if isinstance(value, int | frozenset) else value.copy()
        return twin

    def become(self, other: "CheckpointModel") -> None:
        self.__dict__ = other.__dict__

    # -- what a policy writes -------------------------------------------------------------------

    def lookup(self, job: int, known: int) -> int:
        """Tokens that come back: whole blocks, all of whose tokens are there, but for the last."""
        tokens = 0
        while tokens + self.size < known and self.all_saved(job, tokens):
            tokens += self.size
        return tokens

    def all_saved(self, job: int, first: int) -> bool:
        return all((job, token) in self.cpu for token in range(first, first + self.size))

    def admit(self, job: int, tokens: int, back: int, must_fit: int, spare: int) -> bool:
        if self.needed(max(tokens, must_fit)) + spare > len(self.free):
            return False
        self.tables[job], self.room[job] = (), 0
        self.grow(job, tokens)
        if back:
            self.copies["to_gpu", job] += back
        assert all((job, token) in self.cpu for token in range(back)), "restored from nowhere"
        return True

    def extend(self, job: int, tokens: int) -> bool:
        if self.needed(tokens) - len(self.tables[job]) > len(self.free):
            return False
        self.grow(job, tokens)
        return True

    def extend_decodes(self, members: list[int]) -> bool:
        twin = self.copy()
        for job in members:
            if not twin.extend(job, twin.room[job] + 1):
                return False
        self.become(twin)
        return True

    def needed(self, tokens: int) -> int:
        return len(range(0, tokens, self.size))

    def grow(self, job: int, tokens: int) -> None:
        for token in range(self.room[job], tokens):
            if token // self.size == len(self.tables[job]):
                self.tables[job] = (*self.tables[job], self.free.pop())
            place = (self.tables[job][token // self.size], token % self.size)
            assert place not in self.slots
            self.slots[place] = (job, token)
        self.room[job] = max(tokens, self.room[job])

    def release(self, job: int, *, for_good: bool) -> None:
        for block in self.tables.pop(job):
            self.free.append(block)
        self.slots = {at: what for at, what in self.slots.items() if what[0] != job}
        self.copies = Counter({key: n for key, n in self.copies.items() if key[1] != job})
        del self.room[job]
        if for_good:
            self.cpu = frozenset(entry for entry in self.cpu if entry[0] != job)

    # -- saving ---------------------------------------------------------------------------------

    def save(self, computed: dict[int, int]) -> None:
        """Every full block of every best-effort job on the GPU, as long as there is room."""
        for job in sorted(self.tables):
            first = 0
            while self.be[job] and first + self.size <= computed[job]:
                tokens = [(job, token) for token in range(first, first + self.size)]
                if not self.cpu.issuperset(tokens):
                    if len(self.cpu) + self.size > self.cpu_slots:
                        break
                    assert set(tokens) <= set(self.slots.values()), "saved from nowhere"
                    self.cpu |= frozenset(tokens)
                    self.copies["to_cpu", job] += self.size
                first += self.size

    # -- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        held = [block for table in self.tables.values() for block in table]
        assert sorted([*held, *self.free]) == list(range(self.blocks))
        expected = {(job, token) for job, room in self.room.items() for token in range(room)}
        assert set(self.slots.values()) == expected, "a token is lost, or nobody's"
        assert len(self.slots) == len(expected), "a token is on the GPU twice"
        assert len(self.cpu) <= self.cpu_slots
