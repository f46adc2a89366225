"""Measuring with PyTorch, on the CPU with a tiny model; without PyTorch, only the message."""

import csv
import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.plan import Case, Group, write_shapes
from bros_sim.cli import app

DATA = Path(__file__).parents[1] / "data" / "imports"
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="needs the extra [gpu]: PyTorch")
CASES = [
    Case("decode", (Group(3, 1, 40),)),
    Case("prefill", (Group(2, 32, 0),)),
    Case("chunk", (Group(1, 24, 50),)),
    Case("mixed", (Group(1, 30, 0), Group(4, 1, 100))),
]


def run(tmp_path, *arguments):
    shapes = tmp_path / "shapes.json"
    write_shapes(CASES, shapes)
    line = ["--model", DATA / "tiny", "--shapes", shapes, "--out", tmp_path / "steps.csv"]
    return CliRunner().invoke(app, ["profile", "measure", *map(str, [*line, *arguments])])


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_without_pytorch_the_verb_says_what_to_install(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "pip install 'bros-sim[gpu]'" in result.stderr


def test_outputs_are_checked_before_anything_is_measured(tmp_path):
    result = run(tmp_path, "--copies", tmp_path / "steps.csv")
    assert "is the file of --out as well" in result.stderr
    result = run(tmp_path, "--copies", tmp_path / "none" / "copies.csv")
    assert "there is no folder" in result.stderr
    assert result.exit_code == 2


@needs_torch
def test_the_verb_writes_steps_and_copies(tmp_path):
    copies = tmp_path / "copies.csv"
    result = run(tmp_path, "--device", "cpu", "--repeats", 2, "--copies", copies)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "steps.csv").read_text().splitlines()))
    assert [(row["prefill_tokens"], row["decode_jobs"]) for row in rows] == [
        ("0", "3"),
        ("64", "0"),
        ("24", "0"),
        ("30", "4"),
    ]
    assert rows[3]["decode_kv_tokens"] == "404"
    assert all(float(row["time_s"]) > 0 and row["count"] == "2" for row in rows)
    assert len(copies.read_text().splitlines()) == 15
    assert result.stdout.startswith("host:\n  to_gpu_gb_s: ")


@needs_torch
def test_what_does_not_fit_is_left_out(tmp_path):
    CASES.append(Case("too long", (Group(1, 8, 600),)))
    try:
        assert "left out: 1 batches" in run(tmp_path, "--device", "cpu", "--repeats", 1).stderr
    finally:
        CASES.pop()


@needs_torch
@pytest.mark.parametrize("family", ["llama", "qwen3", "opt"])
def test_attention_through_blocks_is_attention(family):
    """A prompt in two chunks and then a decode gives what the whole prompt gives at once."""
    import dataclasses

    import torch

    from bros_sim.calibration.measure_model import RandomModel
    from bros_sim.calibration.models import FAMILIES

    dims = dataclasses.replace(read_model_config(DATA / "tiny"), family=FAMILIES[family])
    model = RandomModel(dims, 1, 8, "cpu")
    table = torch.tensor([[5, 2, 7]])

    def logits(tokens, context):
        batch = model.batch([Group(1, len(tokens), context)], [table])
        return model.logits(dataclasses.replace(batch, tokens=tokens))

    with torch.inference_mode():
        tokens = torch.arange(3, 43)
        whole = logits(tokens, 0)
        model.cache.zero_()
        logits(tokens[:20], 0)
        logits(tokens[20:39], 20)
        parts = logits(tokens[39:], 39)
        other = logits(tokens[39:] + 1, 39)
    torch.testing.assert_close(parts, whole)
    assert not torch.allclose(other, whole)


@needs_torch
def test_requests_of_a_batch_do_not_see_each_other():
    import dataclasses

    import torch

    from bros_sim.calibration.measure_model import RandomModel

    model = RandomModel(read_model_config(DATA / "tiny"), 1, 16, "cpu")
    groups = (Group(2, 1, 20), Group(1, 10, 0))
    tables = (torch.tensor([[3, 9], [1, 4]]), torch.tensor([[6]]))
    with torch.inference_mode():
        model.cache.normal_(generator=torch.Generator().manual_seed(1))
        batch = model.batch(groups, tables)
        together = model.logits(batch)
        alone = model.batch((Group(1, 1, 20),), (tables[0][1:],))
        second = model.logits(dataclasses.replace(alone, tokens=batch.tokens[1:2]))
        alone = model.batch((Group(1, 10, 0),), tables[1:])
        third = model.logits(dataclasses.replace(alone, tokens=batch.tokens[2:]))
    torch.testing.assert_close(together[1:], torch.cat((second, third)))
    assert together.shape == (3, 256)


@needs_torch
def test_the_link_is_found_from_copies():
    from bros_sim.calibration.measure import CopyRow, link

    rows = [
        CopyRow("to_gpu", size, 1e-5 + size / 25e9, 0.0, 1) for size in (2**16, 2**20, 2**24, 2**28)
    ]
    found = link(rows, "to_gpu")
    assert found.gb_s == pytest.approx(25)
    assert found.latency_s == pytest.approx(1e-5)
