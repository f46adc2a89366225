"""What prompts share and how they reach the engine; a model of sharing for twins.

All requests of a twin share ``root_blocks`` blocks (a system prompt). Beyond, a request continues
one from a drawn number of requests back with a probability by its length, for a drawn part of its
blocks: the reuse of an infinite cache and its distance, without sessions as such.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le
from numpy.typing import NDArray

from bros_sim.core.request import Request

Hashes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Refrag:
    """REFRAG (arXiv 2509.01092v2): the decoder sees one embedding for each chunk of context.

    A prompt is a question and the retrieved context behind it. The context is cut into chunks of
    ``compression`` tokens; a policy keeps the tokens of the share ``expanded`` of them (section 2).
    Of the others the decoder gets one embedding each: that many positions to prefill, and that much
    KV to hold and to read in every further iteration (table 9). With ``compression`` 1 nothing
    changes.

    Simplified: embeddings are precomputed and cached, as in the paper's main figures (encoding them
    on the way halves its gain); choosing what to expand costs nothing; which chunks are kept makes
    no difference, only how many; what the answers are worth is not modelled.
    """

    compression: Annotated[int, Ge(1), Le(10**6), Doc("context tokens of a chunk")]
    question_tokens: Annotated[int, Ge(1), Le(10**9), Doc("tokens of a prompt that are no context")]
    expanded: Annotated[float, Ge(0), Le(1), Doc("share of the chunks that stay tokens")] = 0.0

    def positions(self, prompts: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the decoder computes, and keeps KV of, for prompts of these lengths."""
        question = np.minimum(prompts, self.question_tokens)
        context = prompts - question
        chunks = -(-context // self.compression)
        kept = np.rint(self.expanded * chunks).astype(np.int64)
        tokens = np.minimum(kept * self.compression, context)
        return np.asarray(question + chunks - kept + tokens)


def system_prompt(tokens: int, stream: str) -> list[tuple[int, ...]]:
    """Hashes of one prompt of a stream: all of the system prompt is one block, if there is one."""
    return salted(((0,),), stream) if tokens else [()]


def salted(hashes: Hashes, stream: str) -> list[tuple[int, ...]]:
    """Hashes made the stream's own, so that two streams never share a prefix by accident."""
    salt = zlib.crc32(stream.encode()) << 31 | zlib.crc32(stream[::-1].encode()) >> 1
    sizes = [len(row) for row in hashes]
    flat = np.fromiter(chain.from_iterable(hashes), np.int64, sum(sizes))
    own = np.bitwise_xor(flat, salt).tolist()
    return [tuple(own[a:b]) for a, b in pairwise(accumulate(sizes, initial=0))]


QUANTILES = np.linspace(0, 1, 21)
LENGTH_CLASSES = 8
SEARCH = 64
"""How many requests are tried, going back from the drawn one, for a prefix that is long enough."""


@dataclass(frozen=True, eq=False)
class PrefixModel:
    """``edges`` are the prompt lengths in blocks at which the next length class c begins.

    ``share[c]``: how probably one continues another; ``fraction[c]``: `QUANTILES` of the shared
    part of its blocks; ``lag``: those of the distance in requests.
    """

    block_tokens: int
    root_blocks: int
    edges: NDArray[np.int64]
    share: NDArray[np.float64]
    fraction: NDArray[np.float64]
    lag: NDArray[np.float64]

    @classmethod
    def fit(cls, hashes: Hashes, block_tokens: int) -> "PrefixModel":
        hits, lags = infinite_cache(hashes)
        blocks, root = np.array([len(row) for row in hashes]), _root_blocks(hashes)
        inner = np.quantile(blocks, np.linspace(0, 1, LENGTH_CLASSES + 1)[1:-1])
        edges = np.unique(np.ceil(inner).astype(np.int64))
        member = np.searchsorted(edges, blocks, side="right")
        continues = hits > root
        share, fraction = np.zeros(len(edges) + 1), np.zeros((len(edges) + 1, len(QUANTILES)))
        for n in range(len(share)):
            mine = (member == n) & continues
            share[n] = mine.sum() / max((member == n).sum(), 1)
            if mine.any():
                fraction[n] = np.quantile(hits[mine] / blocks[mine], QUANTILES)
        far = lags[continues] if continues.any() else np.ones(1)
        return cls(block_tokens, root, edges, share, fraction, np.quantile(far, QUANTILES))

    def sample(self, prompts: NDArray[np.int64], rng: np.random.Generator) -> Hashes:
        """Prefix hashes for prompts in order of arrival."""
        blocks = -(-prompts // self.block_tokens)
        member = np.searchsorted(self.edges, blocks, side="right")
        drawn, where, back = rng.random((3, len(prompts)))
        wanted = np.zeros(len(prompts), np.int64)
        for n, quantiles in enumerate(self.fraction):
            mine = member == n
            wanted[mine] = np.rint(np.interp(where[mine], QUANTILES, quantiles) * blocks[mine])
        sizes = np.minimum(wanted, blocks).tolist()
        lags = np.maximum(np.interp(back, QUANTILES, self.lag), 1).astype(np.int64).tolist()
        continues = (drawn < self.share[member]).tolist()
        rows: list[tuple[int, ...]] = []
        fresh = self.root_blocks
        for index, count in enumerate(blocks.tolist()):
            kept = tuple(range(min(self.root_blocks, count)))
            if continues[index]:
                kept = _prefix(rows, index - lags[index], sizes[index]) or kept
            more = count - len(kept)
            rows.append((*kept, *range(fresh, fresh + more)))
            fresh += more
        return tuple(rows)


def _prefix(rows: list[tuple[int, ...]], near: int, size: int) -> tuple[int, ...]:
    for other in range(near, max(near - SEARCH, -1), -1):
        if len(rows[other]) >= size:
            return rows[other][:size]
    return ()


def _root_blocks(hashes: Hashes) -> int:
    """Leading blocks that at least 90 % of the requests have in common."""
    depth, most = 0, len(hashes)
    while most >= 0.9 * len(hashes):
        uses = Counter(row[depth] for row in hashes if len(row) > depth)
        most = max(uses.values(), default=-1)
        depth += 1
    return depth - 1


def shareable(requests: Sequence[Request]) -> list[Request]:
    """The requests of one stream without the hashes that no KV cache can find elsewhere.

    They are cut after the last one that occurs again in the stream: nobody else can hit what lies
    beyond, and the request itself finds it after a preemption all the same.
    """
    uses = Counter(chain.from_iterable(request.prefix_hashes for request in requests))
    cut = []
    for request in requests:
        hashes = request.prefix_hashes
        size = len(hashes)
        while size and uses[hashes[size - 1]] == 1:
            size -= 1
        whole = size == len(hashes)
        cut.append(request if whole else replace(request, prefix_hashes=hashes[:size]))
    return cut


def infinite_cache(hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leading blocks that earlier requests had, and how many requests ago the deepest was used."""
    last_use: dict[int, int] = {}
    hits, lags = np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
    for index, row in enumerate(hashes):
        depth = 0
        while depth < len(row) and row[depth] in last_use:
            depth += 1
        if depth:
            hits[index], lags[index] = depth, index - last_use[row[depth - 1]]
        last_use.update(dict.fromkeys(row, index))
    return hits, lags
