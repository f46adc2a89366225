"""What a fit to whole runs found, in tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bros_sim.profiles.profile import Profile
from bros_sim.report.tables import Part, Printed, Table
from bros_sim.report.validated import NAMES
from bros_sim.validation.compare import Comparison
from bros_sim.validation.fit_runs import RunFit

SHOWN = ("mean", "median", "p99")


@dataclass(frozen=True)
class FittedRuns(Printed):
    """Terms with standard errors and correlation, and the errors of every run."""

    fit: RunFit
    profile: Profile
    path: Path

    def parts(self) -> Iterator[Part]:
        """Terms, what the runs leave open, then errors before and after."""
        fit = self.fit
        rows = [
            [name, f"{start:.4g}", f"{value:.4g}", f"{error:.2g}"]
            for name, start, value, error in zip(
                fit.terms, fit.start, fit.values, fit.standard_errors, strict=True
            )
        ]
        yield Table(["term", "before", "fitted", "standard error"], rows)
        yield "correlation of the terms"
        yield Table(
            ["", *(f"({n + 1})" for n in range(len(fit.terms)))],
            [
                [f"({n + 1}) {name}", *(f"{value:+.2f}" for value in fit.correlation[n])]
                for n, name in enumerate(fit.terms)
            ],
        )
        yield from fit.advice
        columns = [f"{NAMES[m]} {s}" for m in NAMES for s in SHOWN]
        yield "errors in percent, before and after (mean, median and p99)"
        yield Table(["run", "", *columns], [row for name in fit.after for row in self._rows(name)])
        yield f"{self.profile.id}: {self.profile.label}"

    def _rows(self, name: str) -> Iterator[list[str]]:
        label = f"{name} (held out)" if name in self.fit.held_out else name
        yield [label, "before", *_errors(self.fit.before[name])]
        yield ["", "after", *_errors(self.fit.after[name])]

    def plain(self) -> dict[str, object]:
        """The same for JSON."""
        fit = self.fit
        terms = {
            name: {"before": start, "value": value, "standard_error": error}
            for name, start, value, error in zip(
                fit.terms, fit.start.tolist(), fit.values.tolist(), fit.standard_errors.tolist(),
                strict=True,
            )
        }  # fmt: skip
        return {
            "profile": self.profile.id,
            "label": self.profile.label,
            "terms": terms,
            "correlation": fit.correlation.tolist(),
            "advice": fit.advice,
            "held_out": list(fit.held_out),
            "error_pct": {"before": _plain(fit.before), "after": _plain(fit.after)},
        }


def _errors(found: Comparison) -> list[str]:
    return [f"{found.metrics[m][s]['error_pct']:+.1f}" for m in NAMES for s in SHOWN]


def _plain(found: Mapping[str, Comparison]) -> dict[str, object]:
    return {
        name: {
            metric: {s: round(n["error_pct"], 3) for s, n in statistics.items()}
            for metric, statistics in comparison.metrics.items()
        }
        for name, comparison in found.items()
    }
