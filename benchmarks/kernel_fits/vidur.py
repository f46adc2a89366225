"""Vidur's timings of the dense operations of a layer, to compare with aiconfigurator's GEMMs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bros_sim.calibration.kernels_dense import Dense
from bros_sim.calibration.kernels_tables import read_table
from bros_sim.calibration.step_rows import Floats
from bros_sim.core.errors import InputError

FILE = "vidur/mlp_medians.csv.gz"
COLUMNS = ("gpu", "model", "tp", "num_tokens")


@dataclass(frozen=True)
class VidurDense(Dense):
    """The dense part with the operations of a layer as Vidur timed them."""

    ops: pd.DataFrame

    @classmethod
    def like(cls, dense: Dense, ops: pd.DataFrame) -> "VidurDense":
        return cls(dense.gemm, dense.allreduce, dense.gpu, dense.model, dense.tp, ops)

    def layer_ms(self, tokens: Floats) -> Floats:
        """The embedding is not in a layer. Beyond the last size, time is in proportion to it."""
        ops = self.ops.drop(columns=["num_tokens", "emb_ms"], errors="ignore").sum(axis=1)
        grid, values = self.ops["num_tokens"].to_numpy(float), ops.to_numpy(float)
        beyond = values[-1] * tokens / grid[-1]
        return np.where(tokens > grid[-1], beyond, np.interp(tokens, grid, values))


def read_vidur_ops(folder: Path, gpu: str, model: str, tp: int) -> pd.DataFrame:
    """Vidur's medians of the dense operations of one layer: ``num_tokens`` and ``*_ms`` columns.

    ``model`` is Vidur's name, such as ``meta-llama/Meta-Llama-3-8B``.

    Raises:
        InputError: The file is missing or has no such rows.
    """
    frame = read_table(folder / FILE, COLUMNS)
    mine = (frame["gpu"] == gpu.partition("-")[0]) & (frame["model"] == model)
    frame = frame[mine & (frame["tp"] == tp)]
    if frame.empty:
        raise InputError(f"{folder / FILE}: no rows of {gpu}, {model}, tp {tp}")
    ops = frame.drop(columns=["gpu", "model", "tp"])
    return ops.sort_values("num_tokens").reset_index(drop=True)
