"""Coefficients of ``layers`` from the CSV folder of a layer-wise profiler (docs/latency.md).

Times are of one call, in microseconds; those of ``skew`` are sums over its repetitions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from bros_sim.core.errors import Fault, InputError
from bros_sim.latency.parameters import Mixing, Tail
from bros_sim.latency.term_parameters import DecodeGrid, ExpertBlocks, PrefillGrid, TokenCurve
from bros_sim.profiles.model_shape import Experts, ModelShape

ONCE = ("embedding", "final_layernorm")  # all other layers run in every transformer block
ALONE = "prefill_chunk == 0"
BESIDE = "prefill_chunk == 16 and kv_prefill == 0"  # as measured in the mixed kernel
CURVE_TOLERANCE = 0.004  # knots within this share of the line between their neighbours are left out
FEW_LONG = 1 / 8  # share of long sequences up to which a two-length batch is like a real one
COLUMNS = {
    "dense": ("layer", "tokens", "time_us"),
    "per_sequence": ("layer", "sequences", "time_us"),
    "attention": ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
    "skew": ("regime", "n", "nb", "kp", "kv_big", "kv_mean", "t_mean_us", "t_skew_us"),
    "moe": ("tokens", "activated_experts", "time_us"),
}  # fmt: skip
OF_MIXTURES = "moe"  # the expert block, in place of feed-forward layers in ``dense``


@dataclass(frozen=True)
class LayerTables:
    """The tables of one (GPU, model, TP), the number of transformer blocks, and their experts."""

    tables: Mapping[str, pd.DataFrame]
    blocks: int
    experts: Experts | None = None

    def times(self, factor: float) -> "LayerTables":
        """The tables of a card on which every kernel takes ``factor`` times as long."""
        scaled = {}
        for name, table in self.tables.items():
            times = [str(column) for column in table if str(column).endswith("_us")]
            scaled[name] = table.assign(**{column: factor * table[column] for column in times})
        return replace(self, tables=scaled)

    @cached_property
    def attention(self) -> pd.DataFrame:
        """Attention of all blocks in milliseconds (column ``ms``)."""
        table = self.tables["attention"]
        return table.assign(ms=table["time_us"] * self.blocks / 1e3)

    def tokens(self) -> TokenCurve:
        """All layers but attention, against tokens."""
        table = self.tables["dense"].pivot(index="tokens", columns="layer", values="time_us")
        calls = [
            1 if name in ONCE else self.blocks * calls_in_block(name) for name in table.columns
        ]
        return _curve((table * calls).sum(axis=1) / 1e3)

    def expert_blocks(self) -> ExpertBlocks | None:
        """The expert blocks of a mixture.

        Too few tokens to pass as many experts as a column says are taken to be as fast as the
        fewest that were measured.
        """
        if self.experts is None:
            return None
        rows = self.tables[OF_MIXTURES].assign(ms=lambda t: t["time_us"] * self.blocks / 1e3)
        table = rows.pivot(index="tokens", columns="activated_experts", values="ms").bfill()
        number, per_token = self.experts.number, self.experts.per_token
        return ExpertBlocks(number, per_token, *_axes(table), _rows_of(table))

    def sequences(self) -> TokenCurve:
        """LM head and sampler, against sequences."""
        table = self.tables["per_sequence"]
        return _curve(table.groupby("sequences")["time_us"].sum() / 1e3)

    def decode(self, beside: str) -> DecodeGrid:
        """Attention of decodes of equal lengths, alone or beside chunks."""
        rows = self.attention.query(f"{beside} and n_decode > 0")
        table = rows.pivot(index="n_decode", columns="kv_decode", values="ms").dropna(axis=1)
        return DecodeGrid(*_axes(table), _rows_of(table))

    def prefill(self) -> PrefillGrid:
        """Attention of one chunk alone; cells that were not measured are on the line between."""
        rows = self.attention.query("n_decode == 0 and prefill_chunk > 0")
        table = rows.pivot(index="prefill_chunk", columns="kv_prefill", values="ms")
        whole = table.T.interpolate(method="index").T
        return PrefillGrid(*_axes(whole), _rows_of(whole))

    def launch_ms(self) -> float:
        """The attention kernels' least time, of all blocks."""
        return float(self.attention.query(f"{BESIDE} and n_decode == 0")["ms"].iloc[0])

    def lone_ms_per_token(self) -> float:
        """Slope of one long decode that is not split: beside the smallest chunk."""
        rows = self.attention.query(f"{BESIDE} and n_decode == 1 and kv_decode >= 1024")
        return float(np.polyfit(rows["kv_decode"], rows["ms"], 1)[0])


def calls_in_block(layer: str) -> int:
    """How often a transformer block runs a layer: its norm before attention and feed-forward."""
    return 2 if layer == "layernorm" else 1


def read_layer_tables(folder: Path, model: ModelShape) -> LayerTables:
    """The tables of a folder; `InputError` with the faults of all of them."""
    tables: dict[str, pd.DataFrame] = {}
    faults: list[Fault | str] = []
    for name, columns in COLUMNS.items():
        if name == OF_MIXTURES and model.experts is None:
            if path := _table_path(folder, name):
                faults.append(f"{path}: of a mixture of experts, but the model states none")
            continue
        try:
            tables[name] = _read_table(folder, name, columns)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return LayerTables(tables, model.layers, model.experts)


def _table_path(folder: Path, name: str) -> Path | None:
    places = (folder / f"{name}.csv", folder / f"{name}.csv.gz")
    return next((place for place in places if place.is_file()), None)


def _read_table(folder: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    path = _table_path(folder, name)
    if path is None:
        raise InputError(f"{folder}: there is no {name}.csv or {name}.csv.gz")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(*(f"{path}: there is no column '{column}'" for column in missing))
    table = table[list(columns)]
    numbers = table.select_dtypes("number")
    if numbers.isna().to_numpy().any() or (numbers.filter(like="_us") <= 0).to_numpy().any():
        raise InputError(f"{path}: holds times that are missing or not positive")
    return table


def fit_mixing(tables: LayerTables) -> Mixing:
    """Least squares over mixed cells: what chunks and decodes of one kernel cost together."""
    cells = _mixed_cells(tables)
    launch = tables.launch_ms()
    best = (np.inf, 0.0, 0.0)
    for hidden in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0):
        shared = np.minimum(cells["chunk"], cells["own"]) - launch
        shared *= np.minimum(1.0, hidden / cells["n_decode"])
        alone = cells["chunk"] + cells["own"] - launch - shared
        weight = 1 / cells["ms"]
        pairs = cells["n_decode"] * cells["prefill_chunk"]
        x, y = pairs * weight, (cells["ms"] - alone) * weight
        per_pair = max(0.0, float((x * y).sum() / (x * x).sum()))
        error = float(((y - per_pair * x) ** 2).mean())
        best = min(best, (error, hidden, per_pair))
    return Mixing(launch_ms=launch, per_pair_ms=best[2], hidden_up_to=best[1])


def _mixed_cells(tables: LayerTables) -> pd.DataFrame:
    """Mixed cells with what their parts take alone, up to 4,096 tokens of context."""
    table = tables.attention
    chunk = table.query("n_decode == 0").set_index(["prefill_chunk", "kv_prefill"])["ms"]
    own = table.query(f"{BESIDE} and n_decode > 0").set_index(["n_decode", "kv_decode"])["ms"]
    cells = table.query("prefill_chunk > 0 and n_decode > 0 and kv_prefill <= 4096")
    cells = cells[cells["kv_decode"].between(128, 4096)]
    cells = cells.join(chunk.rename("chunk"), on=["prefill_chunk", "kv_prefill"])
    return cells.join(own.rename("own"), on=["n_decode", "kv_decode"]).dropna()


def fit_tail(tables: LayerTables, unsplit_from: int, repetitions: int) -> Tail:
    """Share of the attention still to come when the longest sequence starts, per batch size."""
    lone = tables.lone_ms_per_token()
    skew = tables.tables["skew"]
    skew = skew[skew["nb"] <= np.maximum(1, skew["n"] * FEW_LONG)]
    skew = skew.query("kv_mean >= 200 and kv_big <= 8192 and kp <= 2048")
    to_ms = tables.blocks / repetitions / 1e3
    sizes = sorted({int(n) for n in skew["n"]})
    shares: dict[str, list[float]] = {"pure": [], "mixed": []}
    for regime, found in shares.items():
        for n in sizes:
            rows = skew[(skew["regime"] == regime) & (skew["n"] == n)]
            found.append(_share(rows, lone, to_ms) if len(rows) else found[-1])
    return Tail(lone, tuple(sizes), tuple(shares["pure"]), tuple(shares["mixed"]), unsplit_from)


def _share(rows: pd.DataFrame, lone: float, to_ms: float) -> float:
    mean, real = rows["t_mean_us"] * to_ms, rows["t_skew_us"] * to_ms
    errors = [
        float((((mean + np.maximum(0.0, lone * rows["kv_big"] - s * mean)) / real - 1) ** 2).mean())
        for s in np.arange(101) / 100
    ]
    return int(np.argmin(errors)) / 100


def _curve(times: "pd.Series[float]") -> TokenCurve:
    """The measured points, never falling, without those that the line between others hits."""
    n = [int(v) for v in times.index]
    ms = [float(v) for v in isotonic_regression(times.to_numpy(float)).x]
    keep = [0]
    for at in range(1, len(n) - 1):
        left = keep[-1]
        between = range(left + 1, at + 1)
        line = np.interp([n[i] for i in between], [n[left], n[at + 1]], [ms[left], ms[at + 1]])
        real = np.array([ms[i] for i in between])
        if np.any(np.abs(line / real - 1) > CURVE_TOLERANCE):
            keep.append(at)
    keep.append(len(n) - 1)
    return TokenCurve(tuple(n[i] for i in keep), tuple(round(ms[i], 4) for i in keep))


def _axes(table: pd.DataFrame) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(map(int, table.index)), tuple(map(int, table.columns))


def _rows_of(table: pd.DataFrame) -> tuple[tuple[float, ...], ...]:
    """Rows of numbers; where noise makes more work cost less, the nearest grid that grows."""
    grid = table.to_numpy(float)
    for axis in (0, 1):
        grid = np.apply_along_axis(lambda line: isotonic_regression(line).x, axis, grid)
    grid = np.maximum.accumulate(np.maximum.accumulate(grid, axis=0), axis=1)
    return tuple(tuple(round(float(ms), 4) for ms in row) for row in grid)
