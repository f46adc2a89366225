"""MAX_TOKENS: the output cap that a client states, which TGI reserves and a policy may see.

A cap in the trace takes precedence; these rules fill the gaps. The init fields are the YAML keys.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Le
from numpy.typing import NDArray


class MaxTokens(Protocol):
    """What every entry of MAX_TOKENS answers."""

    def caps(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stated cap of each request, >= 1, from its true output length."""


@dataclass(frozen=True)
class Exact:
    """Clients know their output length: the cap equals it."""

    def caps(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        return outputs


@dataclass(frozen=True)
class Headroom:
    """Clients ask for ``factor`` times what they need, rounded up."""

    factor: Annotated[float, Ge(1), Le(1e6), Doc("cap over true output length")] = 2.0

    def caps(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(np.ceil(outputs * self.factor), np.int64)


@dataclass(frozen=True)
class FixedCap:
    """One cap for all; a longer output is cut to it, as an engine would, and counted."""

    tokens: Annotated[int, Ge(1), Le(10**9), Doc("the cap")]

    def caps(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.full(len(outputs), self.tokens, np.int64)
