"""python -m benchmarks.validation SHARED OUT.md: write docs/validation.md and its figures."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmarks.validation.evidence import blis_iterations, opt_rows, splitwise_rows
from benchmarks.validation.figure import draw as draw_runs
from benchmarks.validation.matrix import KINDS, aims, matrix, matrix_table, real_runs
from benchmarks.validation.ppas import DRAWS, orders, orders_table
from benchmarks.validation.replays import Run, halves, row, variants
from benchmarks.validation.sources import SOURCES
from benchmarks.validation.spread import spread, spread_table
from benchmarks.validation.tables import table
from bros_sim.plots.style import render
from bros_sim.profiles.profile import Profile, load_profile, profile_ids
from bros_sim.study.study import cores
from bros_sim.validation.compare import Comparison
from bros_sim.validation.figure import draw
from bros_sim.validation.real_run import read_arguments, read_requests

PROFILES = ("rtxpro6000/llama-3.1-8b-tp1", "rtx4090/llama-3.1-8b-tp1", "rtxpro6000/qwen3-32b-tp2")
RUN = "real_runs/rtxpro6000_llama-3.1-8b_tp1"
FIGURE = "figures/validation-rtxpro6000.png"
RUNS_FIGURE = "figures/validation-runs.png"


def main(shared: Path, out: Path) -> None:
    """Write the page and its figures beside it."""
    data = shared / "data"
    if not (data / RUN).is_dir():
        raise SystemExit(
            f"make validate: {data / RUN} is not there: the real runs are not in this repository"
        )
    rows = list(matrix(real_runs(data / "real_runs"), shipped(), cores()))
    summaries, tables = data / "real_runs" / "summaries", data / "profiles"
    errors, skipped = spread({name: loads(summaries) for name, loads in SOURCES.items()}, tables)
    parts = {
        "runs": str(len(rows)),
        "runs_figure": RUNS_FIGURE,
        "matrix": matrix_table(rows),
        "aims": aims(rows),
        "spread": spread_table(errors),
        "skipped": "".join(f"- {line}\n" for line in skipped) + "\n" * bool(skipped),
        "draws": str(DRAWS),
        "ppas": orders_table(orders(summaries, tables)),
    }
    one = _one_run(data)
    template = Path(__file__).with_name("template.md").read_text(encoding="utf-8")
    out.write_text(template.format(**parts, **one.parts), encoding="utf-8")
    (out.parent / FIGURE).write_bytes(render(one.figure, "png"))
    (out.parent / RUNS_FIGURE).write_bytes(render(draw_runs(rows), "png"))


def shipped() -> dict[str, Profile]:
    """The shipped profiles of the runs, those that are there."""
    ids = {kind.profile for kind in KINDS.values()} & set(profile_ids())
    return {name: load_profile(name) for name in sorted(ids)}


class _OneRun(NamedTuple):
    parts: dict[str, str]
    figure: Figure


def _one_run(data: Path) -> _OneRun:
    """The sections on the run whose terms are known one by one, and on older measurements."""
    run = Run(
        read_requests(data / RUN / "requests.csv.gz"),
        read_arguments(data / RUN / "meta.json"),
        load_profile(PROFILES[0]),
    )
    found = list(variants(run))
    whole = found[0][1]
    parts = {
        "requests": str(len(run.requests)),
        "figure": FIGURE,
        "metrics": table(_METRICS_HEAD, _metrics(whole)),
        "request_errors": ", ".join(f"{k} {v:.1f} %" for k, v in whole.request_error_pct.items()),
        "terms": table(("profile", "term", "value", "basis"), _terms()),
        "variants": table(_VARIANT_HEAD, (row(*item) for item in found)),
        "halves": table(_VARIANT_HEAD, (row(*item) for item in halves(run))),
        "blis": table(_BLIS_HEAD, blis_iterations(data / "profiles")),
        "splitwise": table(_SPLITWISE_HEAD, splitwise_rows(data / "profiles")),
        "opt": table(_OPT_HEAD, opt_rows()),
    }
    return _OneRun(parts, draw(whole, run.profile.id))


_METRICS_HEAD = ("", "real ms", "simulated ms", "error %", "LLMServingSim %")
_BLIS_HEAD = ("iterations", "number", "median error %", "mean absolute error %")
_SPLITWISE_HEAD = (
    "profile", "cells", "prompt, measured / predicted", "token, measured / predicted"
)  # fmt: skip
_OPT_HEAD = (
    "profile", "decode of 1 ms", "x weights read once", "prefill of 1,024 ms", "x peak of the units"
)  # fmt: skip
_VARIANT_HEAD = ("", "TTFT mean", "worst", "TPOT mean", "worst", "E2E mean", "worst", "in bounds")


def _metrics(comparison: Comparison) -> Iterable[list[str]]:
    reference = _reference()
    for name, statistics in comparison.metrics.items():
        for statistic, cell in statistics.items():
            numbers = [
                f"{cell['real']:,.1f}",
                f"{cell['simulated']:,.1f}",
                f"{cell['error_pct']:+.1f}",
            ]
            yield [f"{name.upper()} {statistic}", *numbers, reference[name, statistic]]


def _reference() -> dict[tuple[str, str], str]:
    """What LLMServingSim reports for the same run."""
    numbers = {
        "ttft": ("-4.0", "-8.6", "-4.4", "-2.4", "-2.0"),
        "tpot": ("-1.0", "-0.0", "+0.5", "+0.3", "+0.6"),
        "e2e": ("-1.8", "-1.2", "-1.8", "-1.3", "-1.6"),
    }
    statistics = ("mean", "median", "p90", "p95", "p99")
    return {
        (m, s): v for m, values in numbers.items() for s, v in zip(statistics, values, strict=True)
    }


def _terms() -> Iterable[list[str]]:
    for name in PROFILES:
        engine = load_profile(name).engine
        assert engine is not None
        for term, found in engine.terms.items():
            yield [name, term, f"{found.value:g}", found.basis]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
