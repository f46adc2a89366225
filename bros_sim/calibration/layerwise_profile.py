"""From layer tables and the ``engine`` block of a profile to its ``models:`` part, made anew.

python -m bros_sim.calibration.layerwise_profile FOLDER PROFILE.yaml
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bros_sim.calibration.fit_design import six_digits
from bros_sim.calibration.layerwise import (
    ALONE,
    BESIDE,
    LayerTables,
    fit_mixing,
    fit_tail,
    read_layer_tables,
)
from bros_sim.calibration.profiles import shown, yaml_text
from bros_sim.config import decode, read_yaml
from bros_sim.config.components import plain
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Layers
from bros_sim.latency.term_parameters import (
    KERNELS_ALONE,
    EngineCosts,
    PerSequence,
    TokenCurve,
    Validity,
)
from bros_sim.profiles.model_shape import ModelShape
from bros_sim.profiles.profile import Engine

SKEW_REPETITIONS = 3  # the profiler's ``measurement_iterations``: the skew file holds sums
TILE_TOKENS = 16  # the dense tables have the steps of the matrix kernels' tiles, at multiples of 16
SHIFTED_GRAPHS = (72, 128)  # graph sizes to which ``graph_gemm_ms`` applies


def graph_sizes(largest: int) -> tuple[int, ...]:
    """The CUDA graphs that vLLM captures by default (``cudagraph_capture_sizes``)."""
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return tuple(n for n in sizes if n <= largest)


def fit_layers(tables: LayerTables, model: ModelShape, tp: int, engine: Engine) -> Layers:
    """The model of the measured layers with the engine's terms."""
    largest = int(tables.tables["dense"]["tokens"].max())
    grid = tables.tables["attention"]
    # FlashAttention-2's num_splits_heuristic: no split from 0.8 x 2 blocks per SM on.
    blocks = 0.8 * 2 * engine.term("streaming_multiprocessors")
    unsplit_from = int(np.ceil(blocks / (model.kv_heads // tp)))
    return Layers(
        tokens=_in_the_engine(tables.tokens(), engine.term("graph_gemm_ms")),
        sequences=tables.sequences(),
        decode=tables.decode(ALONE),
        mixed=tables.decode(BESIDE),
        prefill=tables.prefill(),
        tail=fit_tail(tables, unsplit_from, SKEW_REPETITIONS),
        mixing=fit_mixing(tables),
        graph_sizes=graph_sizes(int(engine.term("largest_graph_tokens"))),
        tile_tokens=TILE_TOKENS,
        all_reduce=_all_reduce(engine, model, largest) if tp > 1 else None,
        overhead=PerSequence(engine.term("step_gap_ms")),
        engine=_whole_runs(engine),
        eager=PerSequence(engine.term("eager_ms"), engine.term("eager_ms_per_token")),
        validity=Validity(
            max_tokens=largest,
            max_decode_jobs=int(grid["n_decode"].max()),
            max_kv_tokens_per_job=int(grid["kv_decode"].max()),
            max_chunk_tokens=int(grid["prefill_chunk"].max()),
            max_context_tokens=int(grid["kv_prefill"].max()),
        ),
    )


def _whole_runs(engine: Engine) -> EngineCosts:
    """Those of the engine's terms that were fitted to whole runs."""
    known = {item.name for item in dataclasses.fields(EngineCosts)} & set(engine.terms)
    values: dict[str, Any] = {name: engine.terms[name].value for name in sorted(known)}
    return EngineCosts(**values)


def _in_the_engine(curve: TokenCurve, shift_ms: float) -> TokenCurve:
    """The dense layers with the shift that the engine's own iterations show at some graphs."""
    if not shift_ms:
        return curve
    (first, last), running = SHIFTED_GRAPHS, curve.make()
    knots = sorted({*curve.n, first - 8, first, last, last + 8})
    times = [running.at(n) + (shift_ms if first <= n <= last else 0.0) for n in knots]
    return TokenCurve(tuple(knots), tuple(round(ms, 4) for ms in times))


def _all_reduce(engine: Engine, model: ModelShape, largest: int) -> TokenCurve:
    """Two all-reduces a block: one-shot up to a size, NCCL's beyond."""
    token_bytes, calls = 2 * model.hidden, 2 * model.layers
    one_shot = int(engine.term("one_shot_bytes")) // token_bytes

    def ms(n: int, kind: str) -> float:
        seconds = 1e-6 * engine.term(f"{kind}_us")
        seconds += n * token_bytes / (1e9 * engine.term(f"{kind}_gb_s"))
        return round(1e3 * calls * seconds, 4)

    knots = {1: "one_shot", one_shot: "one_shot", one_shot + 1: "nccl", largest: "nccl"}
    return TokenCurve(tuple(knots), tuple(ms(n, kind) for n, kind in knots.items()))


def fit_errors(tables: LayerTables, model: Layers) -> pd.DataFrame:
    """Measured cells up to 8,192 tokens of context against the model: ``part`` and ``error``.

    As whole iterations whose dense layers and head are the measured ones, without engine terms.
    """
    rows = tables.attention
    rows = rows[(rows["kv_decode"] <= 8192) & (rows["kv_prefill"] <= 8192)]
    running, tokens, sequences = model.make(), model.tokens.make(), model.sequences.make()
    parts, errors = [], []
    columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "ms"]
    for c, x, n, kv, measured in rows[columns].itertuples(index=False):
        chunks = ((int(c), int(x)),) if c else ()
        shape = StepShape(chunks, int(n), int(n * kv))
        rest = tokens.at(int(c + n)) + sequences.at(int(n) + len(chunks))
        errors.append((rest + running.attention_ms(shape)) / (rest + measured) - 1)
        parts.append("mixed" if chunks and n else "prefill" if chunks else "decode")
    return pd.DataFrame({"part": parts, "error": errors})


def _six_digits(value: object) -> object:
    if isinstance(value, dict):
        return {key: _six_digits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_six_digits(item) for item in value]
    return six_digits(value) if isinstance(value, float) else value


def remake(folder: Path, profile: Path) -> str:
    """The profile's text with the ``models:`` part made anew from the tables in ``folder``."""
    document = read_yaml(profile)
    head, mark, _ = profile.read_text(encoding="utf-8").partition("\nmodels:\n")
    missing = [key for key in ("model", "engine", "tp") if key not in document.data]
    if missing or not mark:
        faults = (document.fault((key,), "this key is missing") for key in missing or ("models",))
        raise InputError(*faults)
    model, engine = decode(ModelShape, document, ("model",)), decode(Engine, document, ("engine",))
    tables = read_layer_tables(folder, model.layers)
    tp = document.data["tp"]
    layers = fit_layers(tables, model, tp if isinstance(tp, int) else 1, engine)
    written = {k: v for k, v in plain(layers).items() if v != plain(KERNELS_ALONE)}
    made = yaml_text({"models": {"layers": _six_digits(shown(written))}}, offset=0)
    return f"{head}\n{made}"


if __name__ == "__main__":
    _folder, _profile = map(Path, sys.argv[1:])
    _profile.write_text(remake(_folder, _profile), encoding="utf-8")
