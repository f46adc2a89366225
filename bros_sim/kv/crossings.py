"""Block crossings of the decode cohort, counted in bulk."""


class Crossings:
    """How many cohort members need a new block, iteration by iteration, in O(block size).

    A member with ``n`` tokens in the cache needs a block for its next token when ``n`` is a
    multiple of the block size. Members advance together, so ``n`` minus the number of iterations
    is constant modulo the block size: one counter per residue is all that is kept.
    """

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._shift = 0
        self._members = 0
        self._by_residue = [0] * block_size

    def add(self, tokens: int) -> int:
        """A member with ``tokens`` in the cache joins; its phase, see `next`, which stays."""
        phase = (tokens - self._shift) % self._size
        self._by_residue[phase] += 1
        self._members += 1
        return phase

    def remove(self, tokens: int) -> None:
        """A member with ``tokens`` in the cache leaves."""
        self._by_residue[(tokens - self._shift) % self._size] -= 1
        self._members -= 1

    @property
    def next(self) -> int:
        """The phase of the members that need a block for their next token."""
        return -self._shift % self._size

    def due(self, ahead: int = 0) -> int:
        """Blocks needed by the next iteration, or by the one ``ahead`` of it."""
        return self._by_residue[(-self._shift - ahead) % self._size]

    def advance(self, iterations: int) -> int:
        """Let every member decode; the blocks needed after the first of ``iterations``."""
        rounds, rest = divmod(iterations - 1, self._size)
        blocks = rounds * self._members + sum(self.due(1 + i) for i in range(rest))
        self._shift += iterations
        return blocks

    def iterations_within(self, blocks: int) -> int:
        """How many iterations beyond the next one need at most ``blocks`` in all."""
        if not self._members:
            return 0
        rounds, left = divmod(blocks, self._members)
        extra = 0
        while extra < self._size and self.due(1 + extra) <= left:
            left -= self.due(1 + extra)
            extra += 1
        return rounds * self._size + extra
