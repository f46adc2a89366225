"""The files behind an experiment: its profile, its traces, classes of the user's own."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from functools import cache
from pathlib import Path

from bros_sim.cluster.routers import ROUTERS
from bros_sim.config import Document, PathKey, component_class
from bros_sim.config.components import supplied
from bros_sim.core.errors import Fault, InputError
from bros_sim.core.world import Given, World
from bros_sim.experiment.build import profile_world
from bros_sim.experiment.schema import Experiment, router_of
from bros_sim.experiment.truth import truth_of
from bros_sim.kv import KV_MANAGERS
from bros_sim.profiles.profile import DEFAULT_PROFILE, Profile, load_profile, profile_path
from bros_sim.schedulers import SCHEDULERS

PROFILE: PathKey = ("cluster", "profile")


class Inputs:
    """Profiles and contents of files, each read once while an experiment is loaded."""

    def __init__(self) -> None:
        self.profile: Callable[[str], Profile] = cache(load_profile)
        self._sha256: Callable[[Path], str] = cache(_sha256)

    def completed(self, document: Document) -> tuple[Document, list[Fault]]:
        """The document with what its profile supplies, and the faults of that profile."""
        named = document.get(PROFILE)
        name = DEFAULT_PROFILE if named is None else named
        if not isinstance(name, str):
            return _completed(document, None), []
        if name.endswith((".yaml", ".yml")):
            name = str(document.directory / name)
            document = document.put(PROFILE, name, document.places_below(PROFILE))
        try:
            profile = self.profile(name)
        except InputError as error:
            return _completed(document, None), document.faults(PROFILE, error)
        return _completed(document, profile), []

    def contents(self, spec: Experiment, system: str) -> dict[str, str]:
        """File -> sha256 of every file that a run of ``system`` depends on."""
        chosen = spec.systems[system]
        parts = [router_of(spec, system), truth_of(spec.latency).model, chosen.scheduler, chosen.kv]
        parts.append(chosen.estimate.latency)
        files = [profile_path(spec.cluster.profile)]
        for stream in spec.workload.values():
            parts += [stream.arrivals, stream.lengths, stream.max_tokens]
            files += [*files_of(stream.arrivals), *files_of(stream.lengths)]
        files += _own_sources(parts)
        named = {str(path): self._sha256(path) for path in files}
        return {spec.cluster.profile: named[str(files[0])], **named}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def files_of(component: object) -> list[Path]:
    """The file that a component reads, if any."""
    path = getattr(component, "file", None)
    return [path] if isinstance(path, Path) else []


def _own_sources(components: list[object]) -> Iterator[Path]:
    """Source files of classes that are not ours: their results depend on them."""
    for component in components:
        cls = component if isinstance(component, type) else type(component)
        own = component is not None and not cls.__module__.startswith("bros_sim.")
        if own and (source := inspect.getsourcefile(cls)):
            yield Path(source)


def _completed(document: Document, profile: Profile | None) -> Document:
    """Every component gets what follows from the experiment: see `Supplied`.

    Without a profile only what has no default, so that the fault is reported alone.
    """
    world = _world(document, profile)
    for path, kinds in _components(document):
        written = document.get(path)
        cls = component_class(kinds, written, document)
        if cls is None or not isinstance(written, dict):
            continue
        fields = dataclasses.fields(cls)
        defaults = {item.name: item.default for item in fields if item.default is not MISSING}
        for name, mark in supplied(cls).items():
            value = mark.rule(world, Given(written, defaults))
            if name not in written and value is not None and (profile or name not in defaults):
                document = document.put((*path, name), value, {(): document.places[path]})
    return document


def _components(document: Document) -> Iterator[tuple[PathKey, Mapping[str, type]]]:
    yield ("cluster", "router"), ROUTERS
    systems = document.get(("systems",))
    for name in systems if isinstance(systems, dict) else ():
        yield ("systems", name, "scheduler"), SCHEDULERS
        yield ("systems", name, "kv"), KV_MANAGERS
        yield ("systems", name, "router"), ROUTERS


def _world(document: Document, profile: Profile | None) -> World:
    """The world as far as it is written; faults are for `decode` to report."""
    cluster = document.get(("cluster",))
    given = Given(cluster if isinstance(cluster, dict) else {}, {})
    longest, blocks = given.number("max_model_len"), given.number("num_gpu_blocks") or 0
    if profile is None:
        return World(max_model_len=longest or 1)
    return profile_world(profile, longest, blocks if blocks > 1 else None)
