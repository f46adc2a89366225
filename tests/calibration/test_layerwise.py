"""Coefficients from layer tables: shipped profiles re-made, made-up tables recovered, faults."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bros_sim.calibration.layerwise import fit_mixing, fit_tail, read_layer_tables
from bros_sim.calibration.layerwise_profile import (
    fit_errors,
    fit_layers,
    graph_sizes,
    remake,
    site_tables,
)
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.profiles.model_shape import Experts, ModelShape
from bros_sim.profiles.profile import Engine, EngineTerm, load_profile, profile_path

SHARED = Path(__file__).parents[3] / "shared" / "data" / "profiles" / "vllm_0.19_layerwise"
FOLDERS = {
    "rtxpro6000/llama-3.1-8b-tp1": "rtxpro6000_llama-3.1-8b_tp1",
    "rtx4090/llama-3.1-8b-tp1": "rtx4090_llama-3.1-8b_tp1",
    "rtxpro6000/qwen3-32b-tp2": "rtxpro6000_qwen3-32b_tp2",
    "rtxpro6000/qwen3-30b-a3b-tp1": "rtxpro6000_qwen3-30b-a3b_tp1",
}
needs_tables = pytest.mark.skipif(not SHARED.is_dir(), reason="tables lie in ../shared")


@needs_tables
@pytest.mark.parametrize("name", FOLDERS)
def test_a_shipped_profile_is_what_its_tables_give(name):
    path = profile_path(name)
    assert remake(SHARED / FOLDERS[name], path) == path.read_text(encoding="utf-8")


@needs_tables
@pytest.mark.parametrize("name", ["rtx4090/llama-3.1-8b-tp1", "rtxpro6000/qwen3-30b-a3b-tp1"])
def test_the_stated_error_is_that_of_the_cells(name):
    profile = load_profile(name)
    tables = site_tables(SHARED / FOLDERS[name], profile.model, profile.engine)
    error = 100 * fit_errors(tables, profile.models.layers)["error"]
    stated = profile.errors["layers"]
    assert error.abs().mean() == pytest.approx(stated.mape_pct, abs=0.01)
    assert error.abs().quantile(0.95) == pytest.approx(stated.p95_pct, abs=0.01)
    assert error.mean() == pytest.approx(stated.bias_pct, abs=0.01)


LAUNCH, LONE, PAIR, SHARE = 8.0, 0.02, 0.001, 0.2
DENSE = ModelShape("made up", 2, 64, 2, 1, 32, 128, 100, 1000, 10**6)
MIXED = replace(DENSE, experts=Experts(8, 2, 10**5))


@pytest.fixture
def folder(tmp_path):
    """Tables of a made-up GPU, in microseconds: 2 blocks, known launch, lone, pair and share."""
    tokens = np.array([1, 16, 32, 64, 128, 256])
    layers = {"qkv_proj": 10.0, "layernorm": 1.0, "embedding": 5.0}
    dense = [(n, t, us * (1 + t / 64)) for n, us in layers.items() for t in tokens]
    per_sequence = [(n, s, 20.0) for n in ("lm_head", "sampler") for s in (1, 64, 128)]
    attention, kvs = [], (16, 1024, 2048, 4096)
    for c in (0, 16, 512):
        for x in (0, 1024) if c else (0,):
            chunk = LAUNCH + 0.02 * max(0, c - 16) + 0.001 * x
            for n in (0, 64, 128):
                for kv in kvs if n else (0,):
                    own = LAUNCH + 0.001 * n * kv
                    both = chunk + own - LAUNCH + PAIR * n * c
                    attention.append((c, x, n, kv, both if c and n else own if n else chunk))
        attention += [(c, 0, 1, kv, LAUNCH + LONE * kv) for kv in kvs if c == 16]
    skew = []
    for regime in ("pure", "mixed"):
        for n, big in ((64, 4096), (64, 8192), (128, 4096), (128, 8192)):
            mean = 0.0005 * n * 512
            late = max(0.0, LONE * big - SHARE * mean)
            skew.append((regime, n, 1, 0, big, 512, 3 * mean, 3 * (mean + late)))
    names = {
        "dense": (dense, ["layer", "tokens", "time_us"]),
        "per_sequence": (per_sequence, ["layer", "sequences", "time_us"]),
        "attention": (
            [row for row in attention if not (row[0] == 0 and row[2] == 0)],
            ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"],
        ),
        "skew": (skew, ["regime", "n", "nb", "kp", "kv_big", "kv_mean", "t_mean_us", "t_skew_us"]),
    }
    for name, (rows, columns) in names.items():
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_known_coefficients_are_recovered(folder):
    tables = read_layer_tables(folder, DENSE)
    assert tables.tokens().make().at(64) == pytest.approx(
        (2 * 10 + 2 * 2 * 1 + 5) * 2 / 1e3, rel=0.01
    )
    assert tables.sequences().make().at(100) == pytest.approx(0.04)
    assert tables.lone_ms_per_token() == pytest.approx(2 * LONE / 1e3)
    mixing = fit_mixing(tables)
    assert mixing.launch_ms == pytest.approx(2 * LAUNCH / 1e3)
    assert mixing.per_pair_ms == pytest.approx(2 * PAIR / 1e3, rel=0.05)
    assert mixing.hidden_up_to <= 1.0  # one decode beside the smallest chunk says nothing
    tail = fit_tail(tables, unsplit_from=40, repetitions=3)
    assert tail.batch == (64, 128)
    assert tail.share == pytest.approx((SHARE, SHARE), abs=0.011)
    assert tail.mixed_share == pytest.approx((SHARE, SHARE), abs=0.011)


def test_what_is_wrong_with_the_tables_is_said(folder):
    (folder / "skew.csv").unlink()
    (folder / "dense.csv").write_text("layer,time_us\nqkv,1\n")
    (folder / "per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,1,-1\n")
    with pytest.raises(InputError) as error:
        read_layer_tables(folder, DENSE)
    text = str(error.value)
    assert "there is no skew.csv" in text
    assert "dense.csv: there is no column 'tokens'" in text
    assert "per_sequence.csv: holds times that are missing or not positive" in text


def test_a_faster_card_takes_less_for_every_kernel_and_as_long_between_them(folder):
    def layers(**terms):
        terms = {name: EngineTerm(value, "made up") for name, value in terms.items()}
        engine = Engine("made up", False, {"largest_graph_tokens": EngineTerm(256, "")} | terms)
        tables = site_tables(folder, DENSE, engine)
        return fit_layers(tables, DENSE, 1, engine).make()

    shape = StepShape(((256, 512),), 64, 64 * 1024)
    gap, table = layers(step_gap_ms=5.0), layers()
    fast = layers(step_gap_ms=5.0, site_factor=0.5)
    assert gap.step_s(shape) == pytest.approx(table.step_s(shape) + 0.005)
    assert fast.step_s(shape) == pytest.approx(0.5 * table.step_s(shape) + 0.005, rel=1e-3)


def test_expert_blocks_count_once_a_block_with_the_experts_that_tokens_activate(folder):
    """A made-up block: 1 us a token and 5 us an expert; table cells for up to 2 n experts."""
    tokens = (1, 4, 64, 256)
    cells = [(n, e, n + 5.0 * e) for n in tokens for e in (2, 4, 8) if e <= 2 * n]
    columns = ["tokens", "activated_experts", "time_us"]
    pd.DataFrame(cells, columns=columns).to_csv(folder / "moe.csv", index=False)
    blocks = read_layer_tables(folder, MIXED).expert_blocks()
    # Of 8 experts, one token passes 2, sixteen are expected to pass 8 x (1 - 0.75 ** 16).
    for n, used in ((1, 2.0), (16, 7.9198), (256, 8.0)):
        assert blocks.activated_by(n) == pytest.approx(used, abs=1e-4)
        assert blocks.at(n) == pytest.approx(2 * (n + 5 * used) / 1e3, rel=0.01)
    assert blocks.at(512) == pytest.approx(2 * blocks.at(256))
    # Split over two ranks, each has half of the experts, and the tokens of both.
    split = replace(blocks, ranks=2)
    assert split.activated_by(8) == pytest.approx(7.9198 / 2, abs=1e-4)
    assert split.at(64) == pytest.approx(2 * (64 + 5 * 4) / 1e3, rel=0.01)


def test_tables_and_model_agree_on_experts(folder):
    with pytest.raises(InputError, match=r"there is no moe\.csv"):
        read_layer_tables(folder, MIXED)
    (folder / "moe.csv").write_text("tokens,activated_experts,time_us\n1,8,50\n")
    with pytest.raises(InputError, match=r"moe\.csv: of a mixture of experts, but the model"):
        read_layer_tables(folder, DENSE)


def test_graph_sizes_are_those_vllm_captures():
    assert graph_sizes(16) == (1, 2, 4, 8, 16)
    assert graph_sizes(256)[-3:] == (240, 248, 256)
    assert graph_sizes(512)[-2:] == (496, 512)
