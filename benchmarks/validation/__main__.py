"""python -m benchmarks.validation SHARED OUT.md: write docs/validation.md and its figure."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.validation.evidence import blis_iterations, opt_rows, splitwise_rows
from benchmarks.validation.replays import Run, carried_over, halves, row, variants
from bros_sim.plots.style import render
from bros_sim.profiles.profile import load_profile
from bros_sim.validation.compare import Comparison
from bros_sim.validation.figure import draw
from bros_sim.validation.real_run import read_arguments, read_requests

PROFILES = ("rtxpro6000/llama-3.1-8b-tp1", "rtx4090/llama-3.1-8b-tp1", "rtxpro6000/qwen3-32b-tp2")
RUN = "real_runs/rtxpro6000_llama-3.1-8b_tp1"
FIGURE = "figures/validation-rtxpro6000.png"


def main(shared: Path, out: Path) -> None:
    """Write the page and its figure beside it."""
    data = shared / "data"
    if not (data / RUN).is_dir():
        raise SystemExit(
            f"make validate: {data / RUN} is not there: the real run is not in this repository"
        )
    run = Run(
        read_requests(data / RUN / "requests.csv.gz"),
        read_arguments(data / RUN / "meta.json"),
        load_profile(PROFILES[0]),
    )
    found = list(variants(run))
    template = Path(__file__).with_name("template.md").read_text(encoding="utf-8")
    text = template.format(
        requests=len(run.requests),
        figure=FIGURE,
        metrics=_table(
            ("", "real ms", "simulated ms", "error %", "LLMServingSim %"), _metrics(found[0][1])
        ),
        request_errors=", ".join(
            f"{k} {v:.1f} %" for k, v in found[0][1].request_error_pct.items()
        ),
        terms=_table(("profile", "term", "value", "basis"), _terms()),
        variants=_table(_VARIANT_HEAD, (row(*item) for item in found)),
        halves=_table(_VARIANT_HEAD, (row(*item) for item in halves(run))),
        carried=_table(
            ("profile", "moved", "TTFT %", "TPOT %", "E2E %"), carried_over(run, PROFILES[1:])
        ),
        blis=_table(
            ("iterations", "number", "median error %", "mean absolute error %"),
            blis_iterations(data / "profiles"),
        ),
        splitwise=_table(
            ("profile", "cells", "prompt, measured / predicted", "token, measured / predicted"),
            splitwise_rows(data / "profiles"),
        ),
        opt=_table(
            (
                "profile",
                "decode of 1 ms",
                "x weights read once",
                "prefill of 1,024 ms",
                "x peak of the units",
            ),
            opt_rows(),
        ),
    )
    out.write_text(text, encoding="utf-8")
    (out.parent / FIGURE).write_bytes(render(draw(found[0][1], run.profile.id), "png"))


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
