"""The vLLM baseline against decision logs recorded from the real scheduler."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.core.errors import InputError
from bros_sim.validation.conformance import compare, find_logs

LOGS = find_logs(Path(__file__).parents[1] / "data" / "vllm_decisions")


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name.split(".json")[0])
def test_every_decision_is_that_of_the_real_scheduler(path: Path):
    assert compare(path) is None


@pytest.mark.slow
def test_logs_cover_every_version_policy_and_feature():
    configs = [
        (log["vllm_version"], log["config"])
        for log in (json.loads(gzip.decompress(path.read_bytes())) for path in LOGS)
    ]
    assert {version for version, _ in configs} == {"0.11.2", "0.13.0", "0.33.0"}
    for key in ("policy", "enable_chunked_prefill", "enable_prefix_caching"):
        assert len({config[key] for _, config in configs}) == 2
    assert any(config.get("watermark") for _, config in configs)
    assert any(config.get("scheduler_reserve_full_isl") for _, config in configs)


def _altered(path: Path, tmp_path: Path, change) -> Path:
    log = json.loads(gzip.decompress(path.read_bytes()))
    change(log)
    altered = tmp_path / "altered.json.gz"
    altered.write_bytes(gzip.compress(json.dumps(log).encode()))
    return altered


@pytest.mark.parametrize("field", ["ids", "n", "free", "free_after", "running_crc", "waiting"])
def test_one_wrong_field_is_found_where_it_stands(field: str, tmp_path: Path):
    source = next(path for path in LOGS if path.name.startswith("fcfs_tight_2048"))

    def change(log: dict) -> None:
        entry = log["log"][100]
        entry[field] = [0] if isinstance(entry[field], list) else entry[field] + 1

    difference = compare(_altered(source, tmp_path, change))
    assert difference is not None
    log = json.loads(gzip.decompress(source.read_bytes()))
    assert (difference.step, difference.field) == (log["log"][100]["step"], field)


def test_one_wrong_summary_is_found(tmp_path: Path):
    def change(log: dict) -> None:
        log["summary"]["0"]["preemptions"] += 1

    difference = compare(_altered(LOGS[0], tmp_path, change))
    assert difference is not None
    assert difference.field == "request 0 preemptions"


def test_command_counts_and_exits_1_on_a_difference(tmp_path: Path):
    def change(log: dict) -> None:
        log["log"][0]["free"] += 1

    _altered(LOGS[0], tmp_path, change)
    (tmp_path / "good.json.gz").write_bytes(LOGS[1].read_bytes())
    result = CliRunner().invoke(app, ["conformance", "vllm", str(tmp_path)])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].startswith("altered.json.gz: iteration ")
    assert lines[-1] == "1/2 identical"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "not a readable decision log"),
        ("a.json.gz", b"plain text", "not a readable decision log"),
        ("a.json.gz", gzip.compress(b"{}", mtime=0)[:-4], "not a readable decision log"),
        ("a.json", b"\xff\xfe", "not a readable decision log"),
        ("a.json", b"[]", "expected 'bros-vllm-oracle/1'"),
        ("a.json", b'{"format": "bros-vllm-oracle/1"}', "requests: missing"),
        ("a.json", b'{"format": "bros-vllm-oracle/1", "log": []}', "log: holds no iteration"),
        (
            "a.json",
            b'{"format": "bros-vllm-oracle/1", "vllm_version": "0.13.0", "config": {},'
            b' "requests": [], "log": [{}]}',
            "not a bros-vllm-oracle/1 log: KeyError('policy')",
        ),
        ("a.txt", b"", "holds no decision log"),
    ],
)
def test_bad_logs_are_refused(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        [compare(path) for path in find_logs(tmp_path)]
    assert any(message in fault for fault in caught.value.lines)


def test_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_logs(tmp_path / "nowhere")
