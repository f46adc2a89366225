"""Makes profiles from fitted or derived coefficients and writes them as files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from bros_sim.calibration.fit_design import Fitted
from bros_sim.calibration.gpus import GpuFacts
from bros_sim.calibration.models import ModelConfig
from bros_sim.config.components import plain
from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.latency.term_parameters import PerSequence
from bros_sim.profiles.model_shape import WINDOWED_REQUEST
from bros_sim.profiles.profile import GIB, FitError, KvCache, Models, Profile, Source, kv_room_bytes
from bros_sim.profiles.uncertainty import Uncertainty

BLOCK_SIZE = 16  # tokens of a KV block, where batches are planned and measured as well
UTILIZATION, RESERVE_GIB = 0.9, 1.25
"""The rule of docs/latency.md for the size of the KV cache: vLLM's ``gpu_memory_utilization``, and
what activations and the CUDA context take on each GPU."""
ENGINE_OVERHEAD = PerSequence(0.46, 0.0146)  # calibrated on one run of Llama-2-70B TP4 on H100
WIDTH = 100


@dataclass(frozen=True)
class Target:
    """What a profile describes."""

    facts: GpuFacts
    config: ModelConfig
    tp: int

    def __post_init__(self) -> None:
        heads = self.config.shape.heads
        if self.tp < 1 or heads % self.tp:
            raise InputError(f"--tp {self.tp}: does not divide the model's {heads} heads")

    @property
    def profile_id(self) -> str:
        """``gpu/model-tpN``, in lower case."""
        slug = "-".join(self.config.shape.name.lower().replace("_", "-").split())
        return f"{self.facts.id}/{slug}-tp{self.tp}"


def assemble(
    target: Target,
    model: Fitted,
    *,
    label: str,
    error: FitError,
    uncertainty: Uncertainty,
    sources: tuple[Source, ...],
    notes: tuple[str, ...],
) -> Profile:
    """A whole profile of one latency model; the rest says where it is from and how good it is."""
    config, tp, kind = target.config, target.tp, type(model).__name__.lower()
    return Profile(
        id=target.profile_id,
        label=label,
        gpu=target.facts.gpu(),
        tp=tp,
        model=config.shape,
        dtype=config.dtype,  # type: ignore[arg-type]  # one of DTYPES
        kv=kv_cache(target),
        default_model=kind,
        models=Models(**{kind: model}),  # type: ignore[arg-type]  # the kind is the class's name
        errors={kind: error},
        sources=sources,
        host=target.facts.host(tp),
        notes=(*notes, *config.notes),
        uncertainty={kind: uncertainty},
    )


def kv_cache(target: Target) -> KvCache:
    """Blocks by the rule of docs/latency.md; `InputError` if the weights leave no room for two."""
    config, tp, memory = target.config, target.tp, target.facts.memory_gib
    weights, per_token = config.weight_bytes, config.cache_bytes_per_token(tp)
    room = kv_room_bytes(memory, UTILIZATION, RESERVE_GIB, tp, weights)
    blocks = int(room // (BLOCK_SIZE * per_token))
    if blocks < 2:
        raise InputError(
            f"--tp {tp}: the weights of {config.shape.name} ({weights / GIB:.1f} GiB) leave no "
            f"room for a KV cache in {tp} x {memory:g} GiB ({_per_token(config, tp)})"
        )
    basis = (
        f"derived: {tp} x ({memory:g} GiB x {UTILIZATION} - {RESERVE_GIB} GiB) - weights "
        f"{weights / GIB:.2f} GiB = {room / GIB:.2f} GiB, over {BLOCK_SIZE * per_token} bytes a "
        f"block ({_per_token(config, tp)})."
    )
    return KvCache(blocks, BLOCK_SIZE, basis, UTILIZATION, RESERVE_GIB)


def _per_token(config: ModelConfig, tp: int) -> str:
    """What a token of KV is made of."""
    growing = config.kv_bytes_per_token(tp)
    windows = config.cache_bytes_per_token(tp) - growing
    more = f", and {windows} for the windows of a request of {WINDOWED_REQUEST} tokens"
    return f"{growing} bytes of KV per token over all ranks{more if windows else ''}"


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile as YAML, whole or not at all; its name ends in .yaml or .yml."""
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"{path}: the name of a profile ends in .yaml")
    with written(path) as draft:
        draft.write_text(yaml_text(shown(plain(profile))), encoding="utf-8")


def yaml_text(data: object, offset: int = 2) -> str:
    """Nested plain data as YAML: lists of numbers and short mappings in one line."""
    yaml = YAML()
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=2 + offset, offset=offset)
    buffer = io.StringIO()
    yaml.dump(_styled(data), buffer)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def shown(value: object) -> object:
    """Plain data without empty defaults."""
    nothing: tuple[object, ...] = (None, {}, [])
    if isinstance(value, dict):
        kept = {key: shown(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in nothing}
    return [shown(item) for item in value] if isinstance(value, list) else value


def _styled(value: object) -> object:
    made: CommentedMap | CommentedSeq
    if isinstance(value, Mapping):
        made = CommentedMap({key: _styled(item) for key, item in value.items()})
        items, most = list(value.values()), 7
    elif isinstance(value, list | tuple):
        made = CommentedSeq(_styled(item) for item in value)
        items, most = list(value), len(value)
    else:
        return value
    if all(isinstance(item, int | float) for item in items) and len(items) <= most:
        made.fa.set_flow_style()
    return made
