"""The document: docs/paper-reproduction.md from result folders."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.paired import Estimate, Row, markdown, mean, ratio, values, verdicts, where
from benchmarks.paper.stated import (
    ABLATION,
    BASELINES,
    BROS,
    CLAIMS,
    DATA,
    MODELS,
    NO_BIDIR,
    PRIORITY,
    PURE_RT,
    RR,
    TTFT,
    VLLM_V0,
    Claim,
)

SERVED = 0.9
"""Joint attainment from which a load counts as served."""
TEMPLATE = Path(__file__).with_name("template.md")
CLAIMS_HEAD = (
    "metric", "lengths", "against", "paper", "ours, largest", "reached at",
    "BROS / baseline there", "RT saturation there",
)  # fmt: skip
RATIOS_HEAD = ("TTFT ratio", "TPOT ratio", "TTFT with / without", "TPOT with / without")
ABLATION_HEAD = ("late RT", "without it", *RATIOS_HEAD, "BE/s with / without")
BY_LOAD_HEAD = ("model", "lengths", "RT/s", *RATIOS_HEAD)
PURE_HEAD = (
    "profile", "RT/s", "against", "normalized latency", "throughput",
    "TTFT attainment, BROS / vLLM", "saturation, BROS / vLLM",
)  # fmt: skip
SERVED_SYSTEMS = (BROS, RR, VLLM_V0, PRIORITY)
POINTS_HEAD = ("RT/s", "system", "TTFT", "TPOT", "both", "normalized latency", "BE/s", "saturation")


def document(main: pd.DataFrame, ablation: pd.DataFrame, pure_rt: pd.DataFrame) -> str:
    """The whole document as Markdown: the template with its tables."""
    latency, throughput = PURE_RT.values()
    parts = {
        "seeds": str(main["seed"].nunique()),
        "served_pct": f"{100 * SERVED:.0f}",
        "claims": markdown(CLAIMS_HEAD, _claims(main)),
        "served": markdown(_served_head(), _served(main)),
        "figures": "\n".join(f"![{t}](figures/paper-{m}.png)\n" for m, t in MODELS.items()),
        "ablation_stated": "TTFT attainment {:.2f}x, TPOT {:.2f}x".format(*ABLATION.values()),
        "ablation": markdown(ABLATION_HEAD, _ablation(ablation)),
        "ablation_by_load": markdown(BY_LOAD_HEAD, _ablation_by_load(main)),
        "pure_stated": f"latency {100 * (latency - 1):+.2f} %, throughput {throughput:.2f}x",
        "pure_rt": markdown(PURE_HEAD, _pure(pure_rt)),
        "all_points": "\n".join(_all_points(main)),
    }
    return TEMPLATE.read_text(encoding="utf-8").format(**parts)


# -- the paper's table ---------------------------------------------------------------------------


def _claims(main: pd.DataFrame) -> Iterator[Row]:
    for claim in CLAIMS:
        for (data, baseline), stated in claim.paper.items():
            ours = _largest(main, claim, data, BASELINES[baseline])
            yield (claim.name, DATA[data], baseline, _effect(claim, stated), *ours)


def _largest(main: pd.DataFrame, claim: Claim, data: str, baseline: str) -> Row:
    """The largest effect over models and loads, with where and what it is made of.

    BE throughput is what the RT ratios cost: its place is that of the largest TTFT ratio.
    """
    found = _by_place(main, claim, data, baseline)
    known = {place: estimate for place, estimate in found.items() if pd.notna(estimate.mean)}
    if not known:
        return (f"no ratio: {baseline} attains nothing with some seed of every load", "", "", "")
    is_cost = claim.service_class == "be"
    leading = _by_place(main, TTFT, data, baseline) if is_cost else known
    sign = -1.0 if claim.lower_is_better else 1.0
    place = max(known, key=lambda at: sign * leading[at].mean if pd.notna(leading[at].mean) else 0)
    text = _effect(claim, known[place].mean, known[place])
    if is_cost:
        ends = sorted(estimate.mean for estimate in known.values())
        text += f"; over all loads {_effect(claim, ends[0])} to {_effect(claim, ends[-1])}"
    elif len(known) < len(found):
        text += f"; no ratio at {len(found) - len(known)} of {len(found)} loads"
    model, rate = place
    there = where(main, data=data, model=model, rate=rate)
    rt, ours = (where(there, **{"class": name}) for name in ("rt", claim.service_class))
    absolute = " / ".join(_absolute(ours, claim.metric, name) for name in (BROS, baseline))
    state = " / ".join(verdicts(where(rt, system=name)) for name in (BROS, baseline))
    return (text, f"{MODELS[model].partition(',')[0]}, {rate:g}/s", absolute, state)


def _by_place(
    main: pd.DataFrame, claim: Claim, data: str, baseline: str
) -> dict[tuple[str, float], Estimate]:
    """BROS / baseline by model and load."""
    table = where(main, data=data, **{"class": claim.service_class})
    return {
        (str(model), float(rate)): _ratio(part, claim.metric, BROS, baseline)
        for (model, rate), part in table.groupby(["model", "rate"], sort=False)
    }


def _ratio(table: pd.DataFrame, metric: str, ours: str, theirs: str) -> Estimate:
    return ratio(values(table, metric, system=ours), values(table, metric, system=theirs))


def _effect(claim: Claim, value: float, estimate: Estimate | None = None) -> str:
    """A ratio as the paper prints it: a change in per cent or a multiple."""
    if pd.isna(value):
        return "no ratio"
    if claim.as_change:
        text = f"{100 * (value - 1):+.1f} %"
        interval = estimate and [f"{100 * (v - 1):+.1f}" for v in (estimate.low, estimate.high)]
    else:
        text = f"{value:.2f}x"
        interval = estimate and [f"{v:.2f}" for v in (estimate.low, estimate.high)]
    return f"{text} [{interval[0]}, {interval[1]}]" if interval else text


def _absolute(table: pd.DataFrame, metric: str, system: str) -> str:
    estimate = mean(values(table, metric, system=system))
    return _with_interval(metric, estimate)


def _with_interval(metric: str, estimate: Estimate) -> str:
    if pd.isna(estimate.mean):
        return "-"
    scale, digits = (100, 1) if "attainment" in metric else (1, 0 if metric.endswith("_ms") else 2)
    unit = {"a": " %", "m": " ms"}.get("a" if scale == 100 else metric[0], "")
    half = "" if pd.isna(estimate.half) else f" ± {scale * estimate.half:.{digits}f}"
    return f"{scale * estimate.mean:.{digits}f}{half}{unit}"


# -- other tables --------------------------------------------------------------------------------


def _served_head() -> Row:
    names = [f"{s}: {c}" for c in ("RT", "BE") for s in SERVED_SYSTEMS]
    return ("model", "lengths", "RT/s", *names)


def _served(main: pd.DataFrame) -> Iterator[Row]:
    for model, title in MODELS.items():
        for data in DATA:
            part = where(main, model=model, data=data)
            rt, be = (where(part, **{"class": name}) for name in ("rt", "be"))
            bros = where(rt, system=BROS).astype({"slo_attainment": float})
            by_rate = bros.groupby("rate")["slo_attainment"].mean()
            served = by_rate[by_rate >= SERVED]
            start = (title.partition(",")[0], DATA[data])
            if served.empty:
                yield (*start, "none", *([""] * 2 * len(SERVED_SYSTEMS)))
                continue
            rate = max(served.index)
            yield (
                *start,
                f"{rate:g}",
                *(_absolute(where(rt, rate=rate), "slo_attainment", s) for s in SERVED_SYSTEMS),
                *(
                    _absolute(where(be, rate=rate), "request_throughput_steady", s)
                    for s in SERVED_SYSTEMS
                ),
            )


def _ablation(table: pd.DataFrame) -> Iterator[Row]:
    rt, be = (where(table, **{"class": name}) for name in ("rt", "be"))
    for late in ("late served first", "late demoted"):
        with_it = f"bidirectional KV, {late}"
        for victims in ("any newest recomputed", "BE recomputed"):
            without = f"{victims}, {late}"
            yield (
                late.removeprefix("late "),
                victims,
                *(_plain_ratio(rt, metric, with_it, without) for metric in ABLATION),
                *(_pair(rt, metric, with_it, without) for metric in ABLATION),
                _pair(be, "request_throughput_steady", with_it, without),
            )


def _ablation_by_load(main: pd.DataFrame) -> Iterator[Row]:
    rt = where(main, **{"class": "rt"})
    for (model, data, rate), part in rt.groupby(["model", "data", "rate"], sort=False):
        yield (
            MODELS[str(model)].partition(",")[0],
            DATA[str(data)],
            f"{rate:g}",
            *(_plain_ratio(part, metric, BROS, NO_BIDIR) for metric in ABLATION),
            *(_pair(part, metric, BROS, NO_BIDIR) for metric in ABLATION),
        )


def _plain_ratio(table: pd.DataFrame, metric: str, ours: str, theirs: str) -> str:
    estimate = _ratio(table, metric, ours, theirs)
    return _effect(TTFT, estimate.mean, estimate)


def _pair(table: pd.DataFrame, metric: str, ours: str, theirs: str) -> str:
    return " / ".join(_absolute(table, metric, system) for system in (ours, theirs))


def _pure(table: pd.DataFrame) -> Iterator[Row]:
    rt = where(table, **{"class": "rt"})
    latency, throughput = PURE_RT
    change = CLAIMS[0]
    for (profile, rate), part in rt.groupby(["cluster.profile", "rate"], sort=False):
        for baseline in (VLLM_V0, "vLLM 0.33"):
            ours = _ratio(part, latency, NO_BIDIR, baseline)
            states = (verdicts(where(part, system=name)) for name in (NO_BIDIR, baseline))
            yield (
                str(profile),
                f"{rate:g}",
                baseline,
                _effect(change, ours.mean, ours),
                _plain_ratio(part, throughput, NO_BIDIR, baseline),
                _pair(part, "ttft_attainment", NO_BIDIR, baseline),
                " / ".join(states),
            )


def _all_points(main: pd.DataFrame) -> Iterator[str]:
    for model, title in MODELS.items():
        for data, name in DATA.items():
            yield f"### {title}, {name}\n"
            yield markdown(POINTS_HEAD, _points(where(main, model=model, data=data)))


def _points(table: pd.DataFrame) -> Iterator[Row]:
    rt, be = (where(table, **{"class": name}) for name in ("rt", "be"))
    for (rate, system), part in rt.groupby(["rate", "system"], sort=False):
        metrics = ("ttft_attainment", "tpot_attainment", "slo_attainment")
        yield (
            f"{rate:g}",
            str(system),
            *(_absolute(part, metric, str(system)) for metric in metrics),
            _absolute(part, "mean_normalized_latency_ms", str(system)),
            _absolute(where(be, rate=rate), "request_throughput_steady", str(system)),
            verdicts(part),
        )
