"""What a search says of a measure, and the files that it writes beside the points."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bros_sim.metrics.intervals import half_width
from bros_sim.metrics.measures import Measure
from bros_sim.plots.style import render
from bros_sim.report.verdict import amount
from bros_sim.study.files import as_json, made_by, replace_file
from bros_sim.study.store import Store

LONGEST_NAME = 150
"""Letters of the name of a search's folder."""


def estimate(measure: Measure, sample: NDArray[np.float64]) -> str:
    """Mean over seeds and 95 % t interval: ``93.1 ± 1.2 %``; ``-`` without any value."""
    if not sample.size:
        return f"- {measure.unit}"
    half = f" ± {amount(measure, half_width(sample))}" if sample.size > 1 else ""
    return f"{amount(measure, float(sample.mean()))}{half} {measure.unit}"


def search_folder(store: Store, kind: str, words: str) -> Path:
    """The folder of one search beside ``points``; its name says what was asked."""
    text = words.replace(">=", "min").replace("<=", "max")
    name = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    folder = store.folder / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_provenance(
    folder: Path, asked: object, experiment: object, points: Sequence[Mapping[str, object]]
) -> None:
    """What made these results: software, question, experiment, and the points that were used."""
    content = {**made_by(), "asked": asked, "experiment": experiment, "points": points}
    replace_file(folder / "provenance.json", as_json(content))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A CSV file."""
    replace_file(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """The figure as PNG and as SVG."""
    replace_file(folder / f"{name}.png", render(figure, "png"))
    replace_file(folder / f"{name}.svg", render(figure, "svg"))
