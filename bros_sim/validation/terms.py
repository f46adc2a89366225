"""The named terms that whole runs can tell: where each is in a profile, and what varies it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import Engine, EngineTerm, Profile
from bros_sim.profiles.uncertainty import get_coefficient, set_coefficient

M = TypeVar("M")


@dataclass(frozen=True)
class Term:
    """A number that is fitted to runs.

    ``path`` is its place in the default latency model; a term of the front end has none and is one
    of the profile's ``engine.terms``. ``step`` is by how much a fit varies it to see its effect.
    """

    path: str
    step: float
    least: float
    varied_by: str
    """Runs that differ in this tell the term from others."""


TERMS: Mapping[str, Term] = {
    "sustained_compute": Term("engine.sustained_compute", 0.03, 0.5, "the length of prompts"),
    "step_gap_ms": Term("overhead.const_ms", 0.15, 0.0, "the load: idle and busy"),
    "chunk_step_ms": Term("engine.chunk_step_ms", 0.5, 0.0, "the share of prefill: short prompts"),
    "per_sequence_ms": Term("engine.per_sequence_ms", 0.01, 0.0, "the load: batch sizes"),
    "all_reduce": Term("engine.all_reduce", 0.1, 0.1, "the length of prompts"),
    "ingest_ms": Term("", 0.5, 0.0, "the load: one request at a time"),
    "ingest_ms_per_prompt_token": Term("", 0.0005, 0.0, "the length of prompts"),
    "ingest_ms_per_running": Term("", 0.05, 0.0, "the load: many requests in flight"),
}
DEFAULT_TERMS = (
    "sustained_compute", "step_gap_ms", "chunk_step_ms", "per_sequence_ms", "ingest_ms",
    "ingest_ms_per_prompt_token",
)  # fmt: skip


def value_of(profile: Profile, name: str) -> float:
    """A term's value in a profile.

    Raises:
        InputError: The profile's default latency model does not have it.
    """
    term = TERMS[name]
    if not term.path:
        return profile.engine.term(name) if profile.engine else 0.0
    try:
        found = get_coefficient(profile.models.by_kind()[profile.default_model], term.path)
    except ValueError:
        what = f"its model '{profile.default_model}' has no {name}"
        raise InputError(f"profile {profile.id}: {what}") from None
    assert isinstance(found, float | int)
    return float(found)


def with_values(profile: Profile, values: Mapping[str, float]) -> Profile:
    """The profile with other values of some terms, in each of its models that has them.

    Those of the front end keep their basis.
    """
    models: dict[str, Any] = dict(profile.models.by_kind())
    engine = profile.engine or Engine("vLLM", async_scheduling=True, terms={})
    terms = dict(engine.terms)
    for name, value in values.items():
        if TERMS[name].path:
            models = {k: _with(m, TERMS[name].path, value) for k, m in models.items()}
        else:
            terms[name] = replace(terms.get(name, EngineTerm(0.0, "not fitted")), value=value)
    known = dataclasses.replace(profile.models, **models)
    return replace(profile, models=known, engine=replace(engine, terms=terms))


def _with(model: M, path: str, value: float) -> M:
    try:
        get_coefficient(model, path)
    except ValueError:
        return model
    return set_coefficient(model, path, np.array([value]))


def stated(
    profile: Profile, values: Mapping[str, float], errors: Mapping[str, float], basis: str
) -> Profile:
    """The profile with these values, and what each rests on under ``engine.terms``."""
    moved = with_values(profile, values)
    assert moved.engine is not None
    new = {
        name: EngineTerm(value, basis, standard_error=errors[name])
        for name, value in values.items()
    }
    terms = {**moved.engine.terms, **new}
    return replace(moved, engine=replace(moved.engine, terms=terms))
