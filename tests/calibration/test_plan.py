"""The batches to measure: inside the engine's limits, and a grid that covers them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.plan import BLOCK_SIZE, plan, read_shapes, room_on, spread, write_shapes
from bros_sim.cli import app
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import Gpu, load_profile

DATA = Path(__file__).parents[1] / "data" / "imports"
SMALL = Gpu("RTX 4090", 23.6, 1008)
VLLM_KEYS = {"query_len", "kv_len", "num_draft_tokens", "chunked", "count"}


@pytest.fixture(scope="module")
def llama():
    return read_model_config(DATA / "llama-3.1-8b")


@pytest.fixture(params=[(SMALL, 2048, 128), (SMALL, 8192, 256)], ids=str)
def room(request, llama):
    return room_on(request.param[0], llama, 1, *request.param[1:])


def test_every_batch_fits_the_engine_and_its_cache(room):
    for case in plan(room):
        assert case.tokens <= room.max_num_batched_tokens
        assert sum(group.count for group in case.groups) <= room.max_num_seqs
        assert case.blocks <= room.blocks


def test_the_grid_reaches_every_bound(room):
    shapes = [case.shape for case in plan(room)]
    assert max(shape.decode_jobs for shape in shapes) == room.max_num_seqs
    assert max(shape.kv_tokens for shape in shapes) > 0.97 * room.blocks * BLOCK_SIZE
    assert max(sum(c for c, _ in shape.chunks) for shape in shapes) == room.max_num_batched_tokens
    assert max(x for shape in shapes for _, x in shape.chunks) == 32768
    mixed = [shape for shape in shapes if shape.chunks and shape.decode_jobs]
    fullest = max(shape.decode_jobs + shape.chunks[0][0] for shape in mixed)
    assert fullest == room.max_num_batched_tokens
    assert any(len(shape.chunks) == 16 for shape in shapes)


def test_the_room_is_that_of_a_shipped_profile(llama):
    shipped = load_profile("a100-80gb/llama-3-8b-tp2")
    room = room_on(shipped.gpu, llama, 2, 8192, 256)
    assert room.blocks == shipped.kv.num_gpu_blocks - 1


def test_sizes_half_way_between_powers_of_two():
    assert spread(1, 12) == [1, 2, 3, 4, 6, 8, 12]
    assert spread(16, 100) == [16, 24, 32, 48, 64, 96, 100]


def test_the_file_is_what_vllm_reads_and_reads_back(room, tmp_path):
    cases = plan(room)
    path = tmp_path / "shapes.json"
    write_shapes(cases, path)
    written = json.loads(path.read_text())["cases"]
    assert len({case["name"] for case in written}) == len(written) > 100
    for request in (request for case in written for request in case["requests"]):
        assert set(request) <= VLLM_KEYS
        prefix = request["kv_len"] - request["query_len"]
        assert prefix >= 0
        assert request["chunked"] == (prefix > 0 and request["query_len"] > 1)
    assert read_shapes(path) == cases


def test_faults_of_a_shapes_file(tmp_path):
    path = tmp_path / "shapes.json"
    requests = [{"query_len": 4, "kv_len": 3}, {"query_len": 4, "kv_len": 9, "num_draft_tokens": 3}]
    path.write_text(json.dumps({"cases": [{"name": "a", "requests": requests[:1]}]}))
    with pytest.raises(InputError, match=r"cases.0.requests.0.kv_len: 3 is less than query_len 4"):
        read_shapes(path)
    path.write_text(json.dumps({"cases": [{"name": "a", "requests": requests[1:]}]}))
    with pytest.raises(InputError, match="num_draft_tokens: should be at most 0"):
        read_shapes(path)


def run(*arguments):
    return CliRunner().invoke(app, ["profile", "plan", *map(str, arguments)])


def test_the_verb_prints_counts_and_an_estimate(tmp_path):
    out = tmp_path / "shapes.json"
    result = run("--gpu", "a100-80gb", "--model", DATA / "llama-3.1-8b", "--out", out)
    assert result.exit_code == 0, result.output
    count = len(read_shapes(out))
    assert f"{count} batches (" in result.stdout
    assert " minutes with vllm bench forward (rough)" in result.stdout
    assert "28,219 KV blocks" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "a100-80g"), "--gpu a100-80g: there is no such GPU (did you mean 'a100-80gb'?)"),
        (("--gpu", str(DATA.parent / "calibration" / "t4.yaml")), "are too little for"),
        (("--gpu", "a100-80gb", "--tp", 3), "--tp 3: llama-3.1-8b cannot be split: 32 heads"),
    ],
)
def test_faults_of_the_verb(tmp_path, arguments, said):
    result = run(*arguments, "--model", DATA / "llama-3.1-8b", "--out", tmp_path / "s.json")
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
