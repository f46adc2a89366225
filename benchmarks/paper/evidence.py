"""The result folders of the paper's experiments, as one table."""

from pathlib import Path

import pandas as pd

from benchmarks.paired import read
from benchmarks.paper.stated import DATA, MODELS


def read_main(results: Path) -> pd.DataFrame:
    """The main experiments in one table, with the columns ``model`` and ``data``."""
    parts = [
        read(results / f"paper-{model}-{data}").assign(model=model, data=data)
        for model in MODELS
        for data in DATA
    ]
    return pd.concat(parts, ignore_index=True)
