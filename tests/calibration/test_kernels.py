import dataclasses

import numpy as np
import pandas as pd
import pytest

from benchmarks.kernel_fits.vidur import VidurDense, read_vidur_ops
from bros_sim.calibration.fit import fit_error
from bros_sim.calibration.kernels import (
    Kernels,
    fit_kernels,
    held_out_rows,
    kernels_of,
    training_rows,
)
from bros_sim.calibration.kernels_dense import Gemm
from bros_sim.calibration.kernels_tables import Grid, heads_of, read_tables
from bros_sim.calibration.step_rows import kinds_of
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import load_profile

LLAMA = load_profile("a100-80gb/llama-3-8b-tp1")


@pytest.fixture(scope="module")
def own(own_tables) -> Kernels:
    return kernels_of(own_tables, "a100-80gb", LLAMA.gpu, LLAMA.model, 1)


def shapes(**columns):
    names = ["seqs", "kv", "chunks", "chunk", "context"]
    return pd.DataFrame(columns).reindex(columns=names, fill_value=0.0).astype(float)


def test_an_iteration_is_the_sum_of_its_kernels(own):
    """Tables of a card with 200 TFLOPS, 1 TB/s and 5 us a launch: every term by hand."""
    layer = 4096 * (6144 + 4096 + 3 * 14336)
    elementwise_us = 10 + 2048 * 2 * (6 * 4096 + 3 * 14336) / (0.8 * 2039e3)
    dense_us = 4 * 5 + 2 * 2048 * layer / 200e6 + elementwise_us
    head_us = 5 + 2 * 128256 * 4096 / 1e6
    attention_us = 5 + 4 * 2048**2 / 2 * 32 * 128 / 200e6
    expected = 32 * (dense_us + attention_us) + head_us
    (found,) = own.time_s(shapes(chunks=[1], chunk=[2048]))
    assert 1e6 * found == pytest.approx(expected, rel=0.01)
    decode_us = 5 + 4 * 128 * 8 * 64 * 1024 / 1e6
    one, more = own.time_s(shapes(seqs=[64, 64], kv=[1024, 2048]))
    assert 1e6 * (more - one) == pytest.approx(32 * (decode_us - 5), rel=0.01)


def test_one_kernel_serves_a_mixed_iteration(own):
    mixed, prefill, decode = own.time_s(
        shapes(seqs=[8, 0, 8], kv=[512, 0, 512], chunks=[1, 1, 0], chunk=[1024, 1024, 0])
    )
    dense = own.dense.layers_ms(np.array([1032.0, 1024.0, 8.0]))
    dense = dense + own.dense.head_ms(np.array([9.0, 1.0, 8.0]))
    attention = 1e3 * np.array([mixed, prefill, decode]) - dense
    assert attention[0] == pytest.approx(attention[1] + attention[2] - 32 * 0.005, rel=1e-3)


def test_what_the_fit_sees_does_not_depend_on_what_is_held_out(own):
    within = own.validity()
    seen = training_rows(own, within)
    decode, prefill = own.decode.cells.copy(), own.prefill.cells.copy()
    for cells in (decode, prefill):
        assert 0.05 < cells["held_out"].mean() < 0.4
        cells.loc[cells["held_out"], "ms"] *= 100
    other = dataclasses.replace(own, decode=Grid(decode), prefill=Grid(prefill))
    pd.testing.assert_frame_equal(training_rows(other, within), seen)
    assert not held_out_rows(other, within).equals(held_out_rows(own, within))
    assert set(kinds_of(seen)) == {"prefill", "decode", "mixed"}


def test_the_rows_are_the_same_each_time(own):
    within = own.validity()
    pd.testing.assert_frame_equal(held_out_rows(own, within), held_out_rows(own, within))


def test_a_bad_gemm_reading_is_replaced(own_tables):
    frame = read_tables(own_tables, "a100-80gb").gemm
    bad = (frame["m"] == 2048) & (frame["n"] == 4096) & (frame["k"] == 4096)
    whole = Gemm.of(frame)
    assert whole.mended == 0
    broken = frame.assign(latency_ms=frame["latency_ms"].where(~bad, 4 * frame["latency_ms"]))
    mended = Gemm.of(broken)
    assert mended.mended == 1
    m = np.array([2048.0])
    assert mended.ms(m, 4096, 4096) == pytest.approx(whole.ms(m, 4096, 4096), rel=0.1)


def test_multi_head_decode_is_folded_into_the_batch(own_tables):
    tables = read_tables(own_tables, "a100-80gb")
    generation = tables.generation.assign(kv_tokens=tables.generation["step"] + 1)
    heads = heads_of(generation, 32, 32, 128)
    assert (heads.query, heads.kv, heads.fold) == (8, 8, 4)
    cells = Grid.of(generation, heads, "kv_tokens").cells
    (row,) = cells[(cells["batch"] == 16) & (cells["tokens"] == 1024)]["ms"]
    assert row == pytest.approx(0.005 + 4 * 128 * 32 * 16 * 1024 / 1e9)
    with pytest.raises(InputError, match="no rows for 48 query and 3 KV heads"):
        heads_of(generation, 48, 3, 128)


@pytest.mark.parametrize("name", ["a100-80gb/llama-3-8b-tp1", "h100-80gb/llama-2-70b-tp8"])
def test_a_shipped_profile_is_what_its_tables_give(shared_tables, name):
    """docs/kernel-fits.md has all 19 pairs."""
    profile = load_profile(name)
    gpu_id = name.partition("/")[0]
    kernels = kernels_of(shared_tables, gpu_id, profile.gpu, profile.model, profile.tp)
    shipped = profile.models.hybrid
    remade = fit_kernels(kernels, shipped.validity)
    for part in ("tokens", "decode_attention", "prefill_attention", "head"):
        assert getattr(remade, part) == getattr(shipped, part), part
    assert fit_error(remade, held_out_rows(kernels, shipped.validity), "held out").mape_pct < 1


def test_no_kv_token_is_read_faster_than_the_memory_allows(own):
    """Also at batch sizes whose measured sequences are short enough for the cache."""
    fast = own.decode.cells.assign(ms=lambda cells: cells["ms"] / 3)
    model = fit_kernels(dataclasses.replace(own, decode=Grid(fast)), own.validity())
    assert min(model.decode_attention.per_kv_token_ms) == pytest.approx(own.kv_read_ms, rel=1e-5)


def test_vidur_has_other_kernels_of_the_same_layers(shared_tables):
    ops = read_vidur_ops(shared_tables, "a100-80gb", "meta-llama/Meta-Llama-3-8B", 1)
    tables = read_tables(shared_tables, "a100-80gb")
    ours = Kernels.of(tables, LLAMA.gpu, LLAMA.model, 1).dense
    theirs = VidurDense.like(ours, ops)
    n = np.array([16.0, 1024.0])
    assert (theirs.layers_ms(n) / ours.layers_ms(n)).tolist() == pytest.approx(
        [1.0, 1.28], abs=0.03
    )
    with pytest.raises(InputError, match="no rows of a100-80gb, nobody, tp 1"):
        read_vidur_ops(shared_tables, "a100-80gb", "nobody", 1)
