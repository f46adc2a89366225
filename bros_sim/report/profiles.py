"""Profiles in tables: the shipped ones, the facts of one, what a fit or a check found."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bros_sim.calibration.check import Checked
from bros_sim.config.components import plain
from bros_sim.engine.latency_model import StepShape
from bros_sim.profiles.profile import ErrorFigures, FitError, Profile
from bros_sim.report.tables import Part, Printed, Table

SHAPES = {
    "decode 1 request, 1,024 KV tokens": StepShape((), 1, 1024),
    "decode 64 requests, 65,536 KV tokens": StepShape((), 64, 65536),
    "prefill 512 tokens": StepShape(((512, 0),), 0, 0),
    "prefill 2,048 tokens": StepShape(((2048, 0),), 0, 0),
    "prefill 512 tokens beside 64 decodes": StepShape(((512, 0),), 64, 65536),
}
"""Iterations to judge a profile by."""


@dataclass(frozen=True)
class ProfileList(Printed):
    """Label, KV blocks and fit error of some profiles."""

    profiles: Sequence[Profile]

    def parts(self) -> Iterator[Part]:
        rows = []
        for profile in self.profiles:
            error, blocks = profile.errors[profile.default_model], profile.kv.num_gpu_blocks
            shown = ("-" if e is None else f"{e:.1f}" for e in (error.mape_pct, error.p95_pct))
            rows.append([profile.id, profile.label, profile.default_model, f"{blocks:,}", *shown])
        yield Table(["profile", "label", "model", "KV blocks", "MAPE %", "p95 %"], rows)
        yield "- not published; `profile show` says what an error is measured against"

    def plain(self) -> list[dict[str, object]]:
        return [
            {
                "id": profile.id, "label": profile.label, "default_model": profile.default_model,
                "num_gpu_blocks": profile.kv.num_gpu_blocks,
                "kv_bytes_per_token": profile.kv_bytes_per_token,
                "errors": {kind: asdict(error) for kind, error in profile.errors.items()},
            }
            for profile in self.profiles
        ]  # fmt: skip


@dataclass(frozen=True)
class ProfileFacts(Printed):
    """A profile's content, what follows from it, and a few iteration times."""

    profile: Profile

    def parts(self) -> Iterator[Part]:
        facts = _flat(self.plain(), "")
        width = max(len(key) for key, _ in facts)
        yield from (f"{key:{width}} {value}" for key, value in facts)

    def plain(self) -> dict[str, object]:
        model = self.profile.models.by_kind()[self.profile.default_model].make()
        times = {what: round(1e3 * model.step_s(it), 3) for what, it in SHAPES.items()}
        more = {"kv_bytes_per_token": self.profile.kv_bytes_per_token, "iteration_ms": times}
        return {**plain(self.profile), **more}


@dataclass(frozen=True)
class NewProfile(Printed):
    """A profile that was just made: label, KV size, and the error by kind of iteration."""

    profile: Profile
    file: Path

    def parts(self) -> Iterator[Part]:
        profile, error = self.profile, self.profile.errors[self.profile.default_model]
        blocks = f"{profile.kv.num_gpu_blocks:,} KV blocks"
        yield f"{profile.id}: {profile.label}, {profile.default_model}, {blocks}"
        yield f"error against {error.against}"
        if None not in {error.mape_pct, error.p95_pct, error.bias_pct}:
            kinds: list[tuple[str, FitError | ErrorFigures]] = [("all", error)]
            rows = [
                [kind, *(f"{figure:.2f}" for figure in (e.mape_pct, e.p95_pct, e.bias_pct))]
                for kind, e in [*kinds, *error.by_kind.items()]
            ]
            yield Table(["iterations", "MAPE %", "p95 %", "bias %"], rows)
        band = profile.uncertainty[profile.default_model].scale_pct
        if band:
            yield f"stated relative error of all iterations together: {band:g} %"

    def plain(self) -> dict[str, object]:
        about = {"id": self.profile.id, "label": self.profile.label, "file": str(self.file)}
        return {**about, "errors": plain(self.profile.errors[self.profile.default_model])}


@dataclass(frozen=True)
class Checks(Printed):
    """The results of the checks of some profiles."""

    checked: Sequence[Checked]

    @property
    def passed(self) -> bool:
        """Whether nothing falls short."""
        return not any(one.problems for one in self.checked)

    def parts(self) -> Iterator[Part]:
        for one in self.checked:
            errors = [
                f"{kind} MAPE {e.mape_pct:.2f} p95 {e.p95_pct:.2f} bias {e.bias_pct:.2f} %"
                for kind, e in one.errors.items()
            ]
            found = "; ".join(errors) or "no error computed again"
            yield f"{one.id}: {'FAILS' if one.problems else 'ok'}; {found}"
            yield from (f"  {problem}" for problem in one.problems)
        passed = sum(not one.problems for one in self.checked)
        yield f"{passed}/{len(self.checked)} profiles pass"

    def plain(self) -> list[dict[str, object]]:
        return [
            {
                "id": one.id, "label": one.label, "ok": not one.problems,
                "faults": list(one.problems),
                "errors": {kind: plain(error) for kind, error in one.errors.items()},
                "not_computed": list(one.not_computed),
            }
            for one in self.checked
        ]  # fmt: skip


def _flat(value: object, key: str) -> list[tuple[str, str]]:
    """Nested mappings and lists of mappings as ``a.b.0.c`` -> text; what is empty is left out."""
    if isinstance(value, list) and value and isinstance(value[0], dict | str):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        below = ((f"{key}.{name}" if key else str(name), item) for name, item in value.items())
        return [line for name, item in below for line in _flat(item, name)]
    if value is None:
        return []
    return [(key, value if isinstance(value, str) else json.dumps(value))]
