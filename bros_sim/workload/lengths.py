"""LENGTHS, and MAX_TOKENS: caps where a trace states none. The init fields are the YAML keys."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from numpy.typing import NDArray

from bros_sim.core.errors import InputError
from bros_sim.workload.traces import Trace, read_trace
from bros_sim.workload.twins import NamedFile, Twin, is_twin, load_twin

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
Tokens = Annotated[int, Ge(1), Le(10**9)]
Range = Annotated[tuple[Tokens, ...], MinLen(2), MaxLen(2)]
LARGEST = 10**9


class LengthModel(Protocol):
    """What every entry of LENGTHS answers."""

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        """``n`` prompt and ``n`` output lengths >= 1."""


@dataclass(frozen=True)
class Fixed:
    """The same lengths for every request."""

    prompt: Annotated[Tokens, Doc("prompt tokens")]
    output: Annotated[Tokens, Doc("output tokens")]

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        return np.full(n, self.prompt, np.int64), np.full(n, self.output, np.int64)


@dataclass(frozen=True)
class Uniform:
    """Independent uniform lengths, both ends included (the BE load of the BROS paper)."""

    prompt: Annotated[Range, Doc("[least, most] prompt tokens")]
    output: Annotated[Range, Doc("[least, most] output tokens")]

    def __post_init__(self) -> None:
        for name, (low, high) in (("prompt", self.prompt), ("output", self.output)):
            if low > high:
                raise ValueError(f"{name}: the range [{low}, {high}] is upside down")

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        (least, most), (low, high) = self.prompt, self.output
        prompts = rng.integers(least, most, n, endpoint=True)
        return prompts, rng.integers(low, high, n, endpoint=True)


@dataclass(frozen=True)
class LogNormalLength:
    """One log-normal length: ``median`` tokens, ``sigma`` of the logarithm, cut to 1..``most``."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012 - pydantic's name

    median: Annotated[float, Gt(0), Le(1e9), Doc("median in tokens")]
    sigma: Annotated[float, Ge(0), Le(10), Doc("standard deviation of the logarithm")]
    most: Annotated[Tokens, Doc("longer draws are cut to this")] = LARGEST

    def of(self, normal: NDArray[np.float64]) -> NDArray[np.int64]:
        lengths = self.median * np.exp(np.minimum(self.sigma * normal, 50.0))
        return np.clip(np.rint(lengths), 1, self.most).astype(np.int64)


@dataclass(frozen=True)
class LogNormal:
    """Log-normal lengths whose logarithms have a given correlation."""

    prompt: Annotated[LogNormalLength, Doc("{median, sigma, most} of the prompt")]
    output: Annotated[LogNormalLength, Doc("{median, sigma, most} of the output")]
    correlation: Annotated[float, Ge(-1), Le(1), Doc("correlation of the logarithms")] = 0.0

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        first, other = rng.standard_normal((2, n))
        second = self.correlation * first + np.sqrt(1 - self.correlation**2) * other
        return self.prompt.of(first), self.output.of(second)


@dataclass(frozen=True)
class Part:
    """One component of a mixture."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012 - pydantic's name

    weight: Annotated[float, Gt(0), Le(1e9), Doc("share of this part, relative to the others")]
    prompt: Annotated[LogNormalLength, Doc("{median, sigma, most} of the prompt")]
    output: Annotated[LogNormalLength, Doc("{median, sigma, most} of the output")]
    correlation: Annotated[float, Ge(-1), Le(1), Doc("correlation of the logarithms")] = 0.0


@dataclass(frozen=True)
class Mixture:
    """A mixture of log-normal pairs; two parts fit most traces (docs/workloads.md)."""

    parts: Annotated[tuple[Part, ...], MinLen(1), Doc("the components, each with its weight")]

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        weights = np.array([part.weight for part in self.parts])
        chosen = rng.choice(len(self.parts), n, p=weights / weights.sum())
        prompts, outputs = np.empty(n, np.int64), np.empty(n, np.int64)
        for index, part in enumerate(self.parts):
            mine = chosen == index
            model = LogNormal(part.prompt, part.output, part.correlation)
            prompts[mine], outputs[mine] = model.sample(int(mine.sum()), rng)
        return prompts, outputs


@dataclass(frozen=True)
class Empirical(NamedFile):
    """Joint pairs of a shipped twin (``name``), or of a trace or twin file (``path``).

    A twin is sampled from its joint histogram; a trace is sampled with replacement, pair by pair.
    """

    path: Annotated[Path | None, Doc("a trace or twin file, instead of a name")] = None
    max_prompt: Annotated[Tokens | None, Doc("longer prompts are cut to this")] = None
    max_output: Annotated[Tokens | None, Doc("longer outputs are cut to this")] = None

    @cached_property
    def content(self) -> Twin | Trace:
        """What pairs are taken from; an `InputError` if it cannot be read or has no lengths."""
        if is_twin(self.file):
            return load_twin(self.file)
        trace = read_trace(self.file)
        if not trace.has_lengths:
            raise InputError(f"{self.file}: has arrivals but no lengths")
        return trace

    def sample(self, n: int, rng: np.random.Generator) -> Pairs:
        pairs = self.content
        if isinstance(pairs, Twin):
            prompts, outputs = pairs.lengths.sample(n, rng)
        else:
            rows = rng.integers(0, len(pairs), n)
            prompts, outputs = pairs.prompt_tokens[rows], pairs.output_tokens[rows]
        most = (self.max_prompt or LARGEST, self.max_output or LARGEST)
        return np.minimum(prompts, most[0]), np.minimum(outputs, most[1])


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
