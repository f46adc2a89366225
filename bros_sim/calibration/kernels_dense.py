"""Time of all of a layer except attention: GEMMs, elementwise operations, all-reduce."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bros_sim.calibration.kernels_tables import KernelTables
from bros_sim.calibration.step_rows import Floats
from bros_sim.profiles.model_shape import ModelShape
from bros_sim.profiles.profile import Gpu

HALF = 2  # bytes of a value in fp16 and bf16, the types that the tables hold
ELEMENTWISE_BANDWIDTH = 0.8  # share of the memory bandwidth that these operations reach (inferred)
ELEMENTWISE_LAUNCHES_MS = 4 * 0.0025  # a layer: 2 norms, rotary embedding, activation (inferred)
OUTLIER = 1.5
"""A GEMM cell is taken for a bad reading if it is slower than its neighbours in (n, k) by this
factor, for its size, and slower than the next larger product outright."""


@dataclass(frozen=True)
class Gemm:
    """``[m, k] x [k, n]`` against ``m``, interpolated over the table's (n, k).

    Between the table's n and k the *rate* of a cell (n * k over time) is interpolated, linearly in
    the logarithms; outside them that of the edge is kept. Between its m, time is linear.
    """

    m: Floats
    log_n: Floats
    log_k: Floats
    rate: Floats
    mended: int

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Gemm":
        """From rows of m, n, k, latency_ms; cells that are missing take a neighbour's rate."""
        m, n, k = (np.sort(frame[name].unique()).astype(float) for name in ("m", "n", "k"))
        times = np.full((m.size, n.size, k.size), np.nan)
        places = (np.searchsorted(m, frame["m"]), np.searchsorted(n, frame["n"]))
        times[*places, np.searchsorted(k, frame["k"])] = frame["latency_ms"]
        rate = n[:, None] * k / times
        near = _neighbours(rate)
        padded = np.pad(times, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        slower_than_larger = (times > padded[:, 1:, :-1]) | (times > padded[:, :-1, 1:])
        bad = np.isnan(rate) | ((rate * OUTLIER < near) & slower_than_larger)
        mended = int((bad & ~np.isnan(rate)).sum())
        return cls(m, np.log(n), np.log(k), np.where(bad, near, rate), mended)

    def ms(self, tokens: Floats, n: float, k: float) -> Floats:
        """Milliseconds for each number of tokens."""
        row, of_row = _between(self.log_n, np.log(n))
        column, of_column = _between(self.log_k, np.log(k))
        cells = self.rate[:, row : row + 2, column : column + 2]
        times = n * k / np.einsum("mij,i,j->m", cells, of_row, of_column)
        return np.asarray(np.interp(tokens, self.m, times))


def _neighbours(rate: Floats) -> Floats:
    """Median rate of the up to four cells beside each one in (n, k)."""
    padded = np.pad(rate, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    beside = [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
    return np.asarray(np.nanmedian(np.stack(beside), axis=0), dtype=float)


def _between(axis: Floats, value: float) -> tuple[int, Floats]:
    """The interval that holds ``value`` (clamped to the axis) and the weights of its two ends."""
    value = float(np.clip(value, axis[0], axis[-1]))
    left = int(np.clip(np.searchsorted(axis, value, side="right") - 1, 0, axis.size - 2))
    reach = (value - axis[left]) / (axis[left + 1] - axis[left])
    return left, np.array([1 - reach, reach])


@dataclass(frozen=True)
class Dense:
    """Milliseconds of the dense part of an iteration on one rank, and of the LM head."""

    gemm: Gemm
    allreduce: pd.DataFrame
    gpu: Gpu
    model: ModelShape
    tp: int

    @classmethod
    def of(cls, tables: KernelTables, gpu: Gpu, model: ModelShape, tp: int) -> "Dense":
        """The dense part of this model on these tables."""
        ranks = tables.allreduce[tables.allreduce["num_gpus"] == tp].sort_values("message_size")
        return cls(Gemm.of(tables.gemm), ranks, gpu, model, tp)

    def layers_ms(self, tokens: Floats) -> Floats:
        """All layers, their two all-reduces included, without attention."""
        return self.model.layers * (self.layer_ms(tokens) + 2 * self._allreduce(tokens))

    def layer_ms(self, tokens: Floats) -> Floats:
        """One layer without its all-reduces and attention."""
        each = elementwise_ms(self.model, self.tp, self.gpu.bandwidth_gb_s)
        return self._gemms(tokens) + (ELEMENTWISE_LAUNCHES_MS + each * tokens)

    def head_ms(self, sequences: Floats) -> Floats:
        """The LM head, sharded over the ranks; beyond the table's n its rate is kept."""
        return self.gemm.ms(sequences, self.model.vocab / self.tp, self.model.hidden)

    def _gemms(self, tokens: Floats) -> Floats:
        hidden, inner = self.model.hidden, self.model.intermediate / self.tp
        query, both = _attention_widths(self.model, self.tp)
        up = (mlp_matrices(self.model) - 1) * inner
        shapes = ((query + both, hidden), (hidden, query), (up, hidden), (hidden, inner))
        return np.asarray(sum(self.gemm.ms(tokens, n, k) for n, k in shapes))

    def _allreduce(self, tokens: Floats) -> Floats:
        """The table counts elements of fp16, not bytes."""
        if self.tp == 1:
            return np.zeros_like(tokens)
        sizes = self.allreduce["message_size"].to_numpy(float)
        times = self.allreduce["latency_ms"].to_numpy(float)
        return np.asarray(np.interp(tokens * self.model.hidden, sizes, times))


def elementwise_ms(model: ModelShape, tp: int, bandwidth_gb_s: float) -> float:
    """A token and layer: values read and written, 6 * hidden by two norms and the activation's."""
    values = 6 * model.hidden + mlp_matrices(model) * model.intermediate / tp
    return HALF * values / (ELEMENTWISE_BANDWIDTH * bandwidth_gb_s * 1e6)


def mlp_matrices(model: ModelShape) -> int:
    """3 with a gated MLP (Llama, Qwen, Mistral), 2 without (OPT): by the number of parameters.

    Mixtures of experts are gated.
    """
    return 3 if model.experts else _nearest_structure(model)[0]


def is_tied(model: ModelShape) -> bool:
    """Whether input embedding and LM head share their weights: by the number of parameters.

    Those of mixtures of experts do not.
    """
    return False if model.experts else _nearest_structure(model)[1] == 1


def _nearest_structure(model: ModelShape) -> tuple[int, int]:
    """Matrices of the MLP and of the embedding that make the stated number of parameters."""
    query, both = _attention_widths(model, 1)
    attention = model.layers * model.hidden * (2 * query + both)
    matrix = model.layers * model.hidden * model.intermediate

    def miss(structure: tuple[int, int]) -> float:
        counted = structure[0] * matrix + attention + structure[1] * model.vocab * model.hidden
        return abs(model.parameters - counted)

    return min(((2, 1), (2, 2), (3, 1), (3, 2)), key=miss)


def _attention_widths(model: ModelShape, tp: int) -> tuple[float, float]:
    """Columns of the query, and of keys and values together, on one rank."""
    query = model.heads * model.head_dim / tp
    return query, 2 * max(1, model.kv_heads // tp) * model.head_dim
