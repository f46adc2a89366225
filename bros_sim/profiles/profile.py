"""Profiles: what is known of a model on a GPU, and the coefficients of its latency models."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from annotated_doc import Doc
from annotated_types import Ge, Gt, Le, MinLen

from bros_sim.config import decode, read_yaml
from bros_sim.config.messages import nearest
from bros_sim.core.data_files import data_path
from bros_sim.core.errors import InputError
from bros_sim.engine.link_parameters import HostLink
from bros_sim.latency.parameters import Hybrid, Layers, Linear, Roofline, Table
from bros_sim.latency.term_parameters import LatencyParameters
from bros_sim.profiles.model_shape import Count, ModelShape, Text
from bros_sim.profiles.uncertainty import Uncertainty

DEFAULT_PROFILE = "a100-80gb/llama-3-8b-tp1"

M = TypeVar("M")
GIB = 2**30
Percent = float | None


@dataclass(frozen=True)
class Gpu:
    """The accelerator; ``memory_gib`` is what the driver reports as total on one card."""

    name: Text
    memory_gib: Annotated[float, Gt(0)]
    bandwidth_gb_s: Annotated[float, Gt(0)]


def kv_room_bytes(
    memory_gib: float, utilization: float, reserve_gib: float, tp: int, weight_bytes: int
) -> float:
    """Bytes for KV over ``tp`` GPUs, by the rule of docs/latency.md."""
    return tp * (memory_gib * utilization - reserve_gib) * GIB - weight_bytes


@dataclass(frozen=True)
class KvCache:
    """Default size of the KV cache of one replica and where the number comes from."""

    num_gpu_blocks: Annotated[int, Ge(2), Doc("vLLM's null block included")]
    block_size: Count
    basis: Annotated[Text, Doc("how num_gpu_blocks was derived or measured")]
    gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] | None = None
    reserve_gib: Annotated[
        Annotated[float, Ge(0)] | None, Doc("activations and the CUDA context, per GPU")
    ] = None


@dataclass(frozen=True)
class Host(HostLink):
    """CPU memory for KV and the link to it, over all GPUs, and where the numbers come from."""

    kv_gib: Annotated[float, Ge(0), Doc("CPU memory for KV, over all GPUs")] = 64.0
    basis: Annotated[Text, Doc("measured, or inferred from what")] = "not stated"


@dataclass(frozen=True)
class EngineTerm:
    """One named number about the engine around the kernels, and where it comes from."""

    value: float
    basis: Annotated[Text, Doc("measured on what, derived or assumed from what")]
    standard_error: Annotated[
        Annotated[float, Ge(0)] | None, Doc("of a fit to runs; None: no fit")
    ] = None


@dataclass(frozen=True)
class Engine:
    """What a real engine adds to its layers; ``bros-sim validate`` replays runs with it.

    ``terms``: the numbers behind the coefficients of ``models.layers`` and the replay
    (docs/latency.md names them).
    """

    name: Text
    async_scheduling: Annotated[bool, Doc("plans an iteration while the one before computes")]
    terms: Annotated[Mapping[str, EngineTerm], Doc("by name, the unit at its end")]

    def term(self, name: str) -> float:
        """The value of a term; one that the engine does not have is 0."""
        found = self.terms.get(name)
        return found.value if found else 0.0


@dataclass(frozen=True)
class ErrorFigures:
    """Relative error of iteration times in percent: mean and 95th percentile of its size, mean."""

    mape_pct: float
    p95_pct: float
    bias_pct: float


@dataclass(frozen=True)
class FitError:
    """How far a model is from what it was fitted to; ``None`` where nothing is published."""

    against: Text
    mape_pct: Percent = None
    p95_pct: Percent = None
    bias_pct: Percent = None
    by_kind: Annotated[
        Mapping[Literal["prefill", "decode", "mixed"], ErrorFigures],
        Doc("the same for prefill, decode and mixed iterations apart"),
    ] = field(default_factory=dict)
    quantiles_pct: Annotated[
        Mapping[str, float], Doc("quantiles of the signed error, p01 to p99")
    ] = field(default_factory=dict)
    recomputed_from: Annotated[
        Literal["kernel tables", "hybrid"] | None,
        Doc("what `profile check` computes the figures again from"),
    ] = None


@dataclass(frozen=True)
class Source:
    """Where numbers come from."""

    name: Text
    licence: Text
    used_for: Text


@dataclass(frozen=True)
class Models:
    """The coefficients of the latency models of a profile, by kind."""

    hybrid: Hybrid | None = None
    layers: Layers | None = None
    linear: Linear | None = None
    roofline: Roofline | None = None
    table: Table | None = None

    def by_kind(self) -> dict[str, LatencyParameters]:
        """Those that are there."""
        found = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {kind: model for kind, model in found.items() if model is not None}


@dataclass(frozen=True)
class Profile:
    """One (GPU, model, tensor parallelism): facts, KV size, latency models, and their errors."""

    id: Text
    label: Annotated[Text, Doc("what the numbers are: calibrated, fitted, derived")]
    gpu: Gpu
    tp: Count
    model: ModelShape
    dtype: Annotated[
        Literal["float16", "bfloat16", "float32", "fp8"],
        Doc("KV, and weights if model.weight_bytes is not set"),
    ]
    kv: KvCache
    default_model: Annotated[str, Doc("kind of latency model that is used by default")]
    models: Models
    errors: Annotated[Mapping[str, FitError], Doc("error of each latency model, by kind")]
    sources: Annotated[tuple[Source, ...], MinLen(1)]
    host: Host | None = None
    engine: Engine | None = None
    notes: tuple[Text, ...] = ()
    uncertainty: Annotated[
        Mapping[str, Uncertainty], Doc("of the coefficients of each latency model, by kind")
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = self.models.by_kind()
        if self.default_model not in kinds:
            raise ValueError(
                f"default_model '{self.default_model}' has no coefficients under models"
                f"{nearest(self.default_model, kinds)}"
            )
        if set(self.errors) != set(kinds):
            raise ValueError(f"errors must name exactly the models: {', '.join(sorted(kinds))}")
        if unknown := set(self.uncertainty) - set(kinds):
            raise ValueError(f"uncertainty of no model: {', '.join(sorted(unknown))}")
        for kind, uncertainty in self.uncertainty.items():
            uncertainty.draw(kinds[kind], np.random.default_rng(0))  # names what does not fit

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV that a further token adds, over all GPUs of the replica."""
        return self.model.kv_bytes_per_token(self.tp, self.dtype)

    @property
    def derived_num_gpu_blocks(self) -> int | None:
        """Blocks by the rule of docs/latency.md; ``None`` where its inputs are not stated."""
        share, reserve_gib = self.kv.gpu_memory_utilization, self.kv.reserve_gib
        if share is None or reserve_gib is None:
            return None
        room = kv_room_bytes(self.gpu.memory_gib, share, reserve_gib, self.tp, self.weight_bytes)
        per_token = self.model.cache_bytes_per_token(self.tp, self.dtype)
        return int(room // (per_token * self.kv.block_size))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's parameters, over all GPUs of the replica."""
        return self.model.bytes_of_weights(self.dtype)

    def coefficients(self, cls: type[M]) -> M:
        """Those of the latency model with parameters ``cls``; `InputError` if there are none."""
        kinds = self.models.by_kind()
        for model in kinds.values():
            if isinstance(model, cls):
                return model
        raise InputError(
            f"profile {self.id} has no coefficients for the latency model '{cls.__name__.lower()}'"
            f" (known: {', '.join(sorted(kinds))})"
        )


def profile_ids() -> list[str]:
    """Ids of the shipped profiles, sorted."""
    root = data_path("profiles")
    return sorted(
        path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")
    )


def profile_path(id_or_path: str | Path) -> Path:
    """The path itself if it ends in ``.yaml`` or ``.yml``, else that of a shipped id."""
    text = str(id_or_path)
    if text.endswith((".yaml", ".yml")):
        return Path(id_or_path)
    known = profile_ids()
    if text not in known:
        raise InputError(f"there is no profile '{text}'{nearest(text, known)}")
    return data_path("profiles") / f"{text}.yaml"


def load_profile(id_or_path: str | Path) -> Profile:
    """A profile, shipped (by id) or your own (by path); `InputError` with a line for each fault."""
    return decode(Profile, read_yaml(profile_path(id_or_path)))
