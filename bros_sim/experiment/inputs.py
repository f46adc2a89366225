"""The files behind an experiment: its profile, its traces, classes of the user's own."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from bros_sim.config import Data, Document, PathKey
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment.schema import Experiment, router_of
from bros_sim.experiment.truth import truth_of
from bros_sim.kv import KV_MANAGERS
from bros_sim.profiles.profile import DEFAULT_PROFILE, Profile, load_profile, profile_path
from bros_sim.schedulers import SCHEDULERS
from bros_sim.schedulers.ordered.scheduler import OrderedScheduler
from bros_sim.schedulers.tgi import PREFILL_TOKENS
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_defaults import v0_batched_tokens, v1_limits

PROFILE: PathKey = ("cluster", "profile")
BLOCK_SIZE = 16
"""Tokens per block where neither the YAML nor the class says so."""
TOKENS, SEQS = "max_num_batched_tokens", "max_num_seqs"
"""Keys of schedulers whose defaults vLLM takes from the GPU and the model."""
ANY_SIZE = 2
"""Stands in for a KV size that cannot be known, so that the fault behind it is reported alone."""
USE_THE_CPU = ("bidirectional", "eager_checkpoint")
"""KV managers whose room on the CPU is the profile's unless the YAML says otherwise."""


class Inputs:
    """Profiles and contents of files, each read once while an experiment is loaded."""

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}
        self._hashes: dict[str, str] = {}

    def profile(self, name: str) -> Profile:
        """A profile by id or path.

        Raises:
            InputError: It is not there or invalid.
        """
        if name not in self._profiles:
            self._profiles[name] = load_profile(name)
        return self._profiles[name]

    def completed(self, document: Document) -> tuple[Document, list[Fault]]:
        """The document with what follows from its profile, and what is wrong with that profile.

        A path of a profile becomes absolute; KV managers get their sizes, schedulers their limits.
        """
        named = document.get(PROFILE)
        name = DEFAULT_PROFILE if named is None else named
        if not isinstance(name, str):
            return _with_kv_sizes(document, None), []
        if name.endswith((".yaml", ".yml")):
            name = str(document.directory / name)
            document = document.put(PROFILE, name, document.places_below(PROFILE))
        try:
            profile = self.profile(name)
        except InputError as error:
            faults = [document.fault(PROFILE, line) for line in error.lines]
            return _with_kv_sizes(document, None), faults
        return _with_limits(_with_kv_sizes(document, profile), profile), []

    def contents(self, spec: Experiment, system: str) -> dict[str, str]:
        """File -> sha256 of every file that a run of ``system`` depends on."""
        chosen = spec.systems[system]
        parts = [router_of(spec, system), truth_of(spec.latency).model, chosen.scheduler, chosen.kv]
        parts.append(chosen.estimate.latency)
        files = [profile_path(spec.cluster.profile)]
        for stream in spec.workload.values():
            parts += [stream.arrivals, stream.lengths, stream.max_tokens]
            files += [*files_of(stream.arrivals), *files_of(stream.lengths)]
        files += list(_own_sources(parts))
        named = {str(path): self._hash(path) for path in files}
        return {spec.cluster.profile: named[str(files[0])], **named}

    def _hash(self, path: Path) -> str:
        name = str(path)
        if name not in self._hashes:
            try:
                self._hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        return self._hashes[name]


def files_of(component: object) -> list[Path]:
    """The file that a component reads, if any."""
    path = getattr(component, "file", None)
    return [path] if isinstance(path, Path) else []


def _own_sources(components: list[object]) -> Iterator[Path]:
    """Source files of classes that are not ours: their results depend on them."""
    for component in components:
        cls = component if isinstance(component, type) else type(component)
        if component is not None and not cls.__module__.startswith("bros_sim."):
            source = inspect.getsourcefile(cls)
            if source is not None:
                yield Path(source)


def _with_kv_sizes(document: Document, profile: Profile | None) -> Document:
    """Every KV manager without ``num_gpu_blocks`` gets the cluster's, or else the profile's."""
    own = document.get(("cluster", "num_gpu_blocks"))
    systems = document.get(("systems",))
    for name in systems if isinstance(systems, dict) else ():
        path: PathKey = ("systems", name, "kv")
        kv = document.get(path)
        if isinstance(kv, dict) and "num_gpu_blocks" not in kv and _knows_kind(kv):
            blocks = own if isinstance(own, int) and own >= ANY_SIZE else _blocks(kv, profile)
            document = _supply(document, (*path, "num_gpu_blocks"), blocks)
        if profile and isinstance(kv, dict) and kv.get("kind") == "kunserve_like":
            document = _supply(document, (*path, "extra_blocks"), _dropped_blocks(kv, profile))
        if profile and profile.host and isinstance(kv, dict) and kv.get("kind") in USE_THE_CPU:
            blocks = _cpu_blocks(kv, profile.host.kv_gib, profile.kv_bytes_per_token)
            document = _supply(document, (*path, "cpu_blocks"), blocks)
    return document


def _supply(document: Document, path: PathKey, value: int) -> Document:
    """The document with that value, unless it says one."""
    owner = document.get(path[:-1])
    if isinstance(owner, dict) and path[-1] in owner:
        return document
    return document.put(path, value, {(): document.places[path[:-1]]})


def _knows_kind(kv: Mapping[str, Data]) -> bool:
    kind = kv.get("kind")
    return isinstance(kind, str) and (kind in KV_MANAGERS or ":" in kind)


def _blocks(kv: Mapping[str, Data], profile: Profile | None) -> int:
    """The profile's KV size in blocks of this manager's size; the null block is not scaled."""
    if profile is None:
        return ANY_SIZE
    default = getattr(KV_MANAGERS.get(str(kv["kind"])), "block_size", BLOCK_SIZE)
    size = _count(kv.get("block_size", default)) or profile.kv.block_size
    if size == profile.kv.block_size:
        return profile.kv.num_gpu_blocks
    return 1 + (profile.kv.num_gpu_blocks - 1) * profile.kv.block_size // size


def _cpu_blocks(kv: Mapping[str, Data], gib: float, token_bytes: int) -> int:
    """What the host's memory for KV holds, in blocks of this manager's size."""
    size = _count(kv.get("block_size")) or BLOCK_SIZE
    return int(gib * 2**30) // (size * token_bytes)


def _dropped_blocks(kv: Mapping[str, Data], profile: Profile) -> int:
    """What fits into the room of the parameters that a replica of a group can do without."""
    group = _count(kv.get("group")) or 2
    size = _count(kv.get("block_size")) or BLOCK_SIZE
    dropped = profile.weight_bytes * (group - 1) // group
    return dropped // (size * profile.kv_bytes_per_token)


def _with_limits(document: Document, profile: Profile) -> Document:
    """Every scheduler that leaves a limit open gets the one that its engine chooses."""
    written = _count(document.get(("cluster", "max_model_len")))
    systems = document.get(("systems",))
    for name in systems if isinstance(systems, dict) else ():
        path: PathKey = ("systems", name, "scheduler")
        scheduler = document.get(path)
        if not isinstance(scheduler, dict):
            continue
        chosen = _limits(scheduler, profile, written or profile.model.max_model_len)
        for key, limit in chosen.items():
            document = _supply(document, (*path, key), limit)
    return document


def _limits(
    scheduler: Mapping[str, Data], profile: Profile, max_model_len: int
) -> Mapping[str, int]:
    if scheduler.get("kind") == "vllm_v0":
        return {TOKENS: v0_batched_tokens(max_model_len)}
    if scheduler.get("kind") == "tgi":
        total = _count(scheduler.get("max_total_tokens")) or max_model_len
        prefill = min(PREFILL_TOKENS, max_model_len)
        return {
            "max_batch_prefill_tokens": prefill,
            "max_total_tokens": total,
            "max_input_tokens": max(total - 1, 1),
        }
    cls = SCHEDULERS.get(str(scheduler.get("kind")), object)
    if not issubclass(cls, VllmScheduler | OrderedScheduler):
        return {}
    chunked = getattr(cls, "cuts_prompts", scheduler.get("enable_chunked_prefill") is not False)
    tokens, seqs = v1_limits(
        profile.gpu.name,
        profile.gpu.memory_gib,
        max_model_len,
        tokens=_count(scheduler.get(TOKENS)),
        seqs=_count(scheduler.get(SEQS)),
        chunked=chunked,
    )
    return {TOKENS: tokens, SEQS: seqs}


def _count(value: Data) -> int | None:
    """A limit that is written and can be one; ``decode`` reports what is wrong with others."""
    return value if isinstance(value, int) and value >= 1 else None
