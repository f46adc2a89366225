"""What a stream does to its prompts before they reach the engine: shared, or compressed."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Annotated

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le
from numpy.typing import NDArray

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
        seen: NDArray[np.int64] = question + chunks - kept + tokens
        return seen


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
