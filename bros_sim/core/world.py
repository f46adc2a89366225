"""What the parameters of a component know of the experiment around it.

What YAML sets of a component is a frozen dataclass, hashable and shared: its parameters. What runs,
and alone has a memory, is made from them by ``make(world)``.
"""

import zlib
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

Fidelity = Literal["exact", "simplified", "reconstructed", "like"]
"""How far a component follows what it mirrors: every rule; with rules left out on purpose; as far
as a text tells that was read in digests; or its idea alone."""


@dataclass(frozen=True)
class World:
    """The rest of an experiment, as a component may ask for it; sizes are of one replica."""

    max_model_len: int
    replicas: int = 1
    seed: int = 0
    num_gpu_blocks: int | None = None
    """KV blocks that the experiment sets for every system; default: the profile's."""
    profile: str = ""
    gpu: str = ""
    gpu_memory_gib: float = 0.0
    weight_bytes: int = 0
    kv_bytes_per_token: int = 1
    profile_blocks: int = 2
    """KV blocks that the profile has, the null block included."""
    profile_block_size: int = 16
    host_kv_gib: float | None = None
    """CPU memory for KV; None: the profile does not say what copies to the CPU cost."""

    def generator(self, purpose: str) -> np.random.Generator:
        """The random numbers of one purpose, independent of those of any other."""
        key = (zlib.crc32(purpose.encode()),)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


class Given(NamedTuple):
    """What the YAML says of a component, and its defaults for what the YAML leaves out."""

    written: Mapping[str, object]
    defaults: Mapping[str, object]

    def number(self, name: str, default: object = None) -> int | None:
        """A number from 1 on, if that is what is written; other values are reported elsewhere."""
        value = self.written.get(name, default)
        return value if isinstance(value, int) and value >= 1 else None

    def number_or_default(self, name: str) -> int | None:
        """The same, or else the default."""
        return self.number(name, self.defaults.get(name))


@dataclass(frozen=True)
class Supplied:
    """A parameter from the experiment, as ``source`` says, or if None the default, without YAML."""

    source: str
    rule: Callable[[World, Given], int | None]


class Parameters:
    """Base of the parameters of what takes part in a run."""

    fidelity: ClassVar[Fidelity] = "exact"

    @property
    def mirrors(self) -> str:
        """Engine or paper, and version, that is followed; empty for what follows none."""
        return ""

    def conflicts(self, world: World) -> abc.Sequence[str]:  # noqa: ARG002
        """Why the component cannot be used in this experiment; empty when it can."""
        return ()
