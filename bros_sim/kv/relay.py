"""RelayAttention (arXiv 2402.14808v3): a system prompt's KV is read once for the whole batch."""

from bros_sim.kv.pool import Block

REQUESTS_PER_READ = 64
"""Requests that one read serves. The authors' kernel benchmark on an A100 (stat/relay_op/A100.csv
of github.com/rayleizhu/vllm-ra) takes up to 1.25 times as long for 64 requests as for one, and 1.9
to 2.9 times as long for 128 as for 64: the queries no longer fit one tile."""


class SharedReads:
    """Members of the decode cohort by the system prompt that they share, and what that spares.

    Prompts are told apart by the block that they end in: two copies of one are read twice.
    """

    def __init__(self) -> None:
        self.spared = 0
        """KV tokens that the members attend to and an iteration need not read again."""
        self._members: dict[Block, int] = {}

    def add(self, last: Block, tokens: int, change: int = 1) -> None:
        """A member comes, or goes (-1), whose system prompt of ``tokens`` ends in that block."""
        before = self._members.pop(last, 0)
        after = before + change
        if after:
            self._members[last] = after
        self.spared += tokens * (_spared_reads(after) - _spared_reads(before))


def _spared_reads(members: int) -> int:
    return members - -(-members // REQUESTS_PER_READ)
