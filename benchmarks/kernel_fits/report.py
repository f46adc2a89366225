"""The comparison as a document."""

from pathlib import Path

import numpy as np

from benchmarks.kernel_fits.evidence import (
    Pair,
    calibrated,
    data_sheet_error,
    rooflines,
    vidur_difference,
)
from bros_sim.calibration.derive import CALIBRATED
from bros_sim.calibration.step_rows import KINDS
from bros_sim.profiles.profile import FitError

TEMPLATE = Path(__file__).with_name("template.md")


def document(found: list[Pair], tables: Path) -> str:
    """docs/kernel-fits.md: the template with its tables filled in."""
    text = TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "pairs": str(len(found)),
        "mean_shipped": f"{np.mean([pair.shipped_error.mape_pct for pair in found]):.2f}",
        "mean_remade": f"{np.mean([pair.remade_error.mape_pct for pair in found]):.2f}",
        "hybrids": _hybrids(found),
        "rooflines": _rooflines(found),
        "sheets": _sheets(found),
        "vidur": _vidur(found, tables),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def _three(error: FitError) -> str:
    return f"{error.mape_pct:.2f} / {error.p95_pct:.1f} / {error.bias_pct:+.1f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _hybrids(found: list[Pair]) -> str:
    rows = []
    for pair in found:
        row = [pair.profile.id, f"{len(pair.held_out):,}"]
        row += [_three(pair.shipped_error), _three(pair.remade_error)]
        for kind in KINDS:
            shipped, remade = pair.shipped_error.by_kind[kind], pair.remade_error.by_kind[kind]
            row.append(f"{shipped.mape_pct:.1f} -> {remade.mape_pct:.1f}")
        rows.append(row)
    return _table(["pair", "rows", "shipped", "made again", *KINDS], rows)


def _rooflines(found: list[Pair]) -> str:
    rows = []
    for pair in found:
        shipped, remade = rooflines(pair.profile)
        rows.append([pair.profile.id, _three(shipped), _three(remade)])
    return _table(["pair", "shipped", "re-made by `fit`"], rows)


def _sheets(found: list[Pair]) -> str:
    cards = list(dict.fromkeys(pair.profile.id.partition("/")[0] for pair in found))
    rows, squares = [], []
    for card in cards:
        left = [pair for pair in found if pair.profile.id.startswith(f"{card}/")]
        others = calibrated([pair for pair in found if pair not in left])
        error = np.concatenate([data_sheet_error(pair, others) for pair in left])
        own = np.concatenate([data_sheet_error(pair) for pair in left])
        squares += [float(np.mean(data_sheet_error(pair, others) ** 2)) for pair in left]
        rows.append([card, _sizes(own), _sizes(error)])
    rows.append(["root mean square, pairs alike", "", f"{np.sqrt(np.mean(squares)):.1f}"])
    factors = ", ".join(f"{name} {value:.4g}" for name, value in vars(calibrated(found)).items())
    stated = ", ".join(f"{name} {value:.4g}" for name, value in vars(CALIBRATED).items())
    table = _table(["card", "all cards calibrated", "this card left out"], rows)
    return f"{table}\n\nFactors over all cards:\n{factors}.\nIn use, rounded:\n{stated}."


def _sizes(error: np.ndarray) -> str:
    size = np.abs(error)
    return f"{size.mean():.1f} / {np.percentile(size, 95):.1f} / {error.mean():+.1f}"


def _vidur(found: list[Pair], tables: Path) -> str:
    rows = []
    for pair in found:
        change = vidur_difference(pair, tables)
        if change is not None:
            rows.append([pair.profile.id, *(f"{change[kind]:+.1f}" for kind in KINDS)])
    return _table(["pair", *KINDS], rows)
