"""The server of an experiment: its memory, its scheduling ahead, its front end."""

import pytest

from bros_sim.config import override, parse
from bros_sim.core.errors import InputError
from bros_sim.experiment import load
from bros_sim.experiment.build import run_point
from tests.cli.conftest import EXPERIMENT

ONE = EXPERIMENT[: EXPERIMENT.index("sweep:")]


def loaded(**changes):
    document = parse(ONE, "e.yaml")
    for path, value in changes.items():
        document = override(document, f"{path.replace('__', '.')}={value}")
    return load(document)


def requests(**changes):
    return run_point(loaded(**changes).points[0].spec).requests


BROS = "{A: {scheduler: {kind: bros}, kv: {kind: bidirectional}}}"


def test_vllm_does_not_start_with_less_memory_than_the_model_length():
    assert loaded(cluster__num_gpu_blocks=513).warnings == []
    with pytest.raises(InputError) as error:
        loaded(cluster__num_gpu_blocks=512)
    what = "the model length 8,192 is over the KV cache of 8,176 tokens"
    hint = "set cluster.max_model_len to at most 8,176"
    assert all(what in line and line.endswith(hint) for line in error.value.lines)
    assert loaded(cluster__num_gpu_blocks=512, cluster__max_model_len=8176).warnings == []


def test_of_other_systems_it_is_a_warning_with_the_same_words():
    (line,) = loaded(cluster__num_gpu_blocks=512, systems=BROS).warnings
    assert line.startswith("systems.A: the model length 8,192 is over the KV cache of 8,176")
    assert line.endswith("does not start: set cluster.max_model_len to at most 8,176")


@pytest.mark.parametrize(("version", "ahead"), [("0.33.0", True), ("0.13.0", False)])
def test_auto_schedules_ahead_where_the_release_does(version, ahead):
    def first_tokens(**engine):
        scheduler = f"{{kind: vllm, version: {version}}}"
        table = requests(systems__FCFS__scheduler=scheduler, **engine)
        return table["first_token_s"].tolist()

    sync, asynchronous = (first_tokens(engine__async_scheduling=v) for v in ("false", "true"))
    assert sync == first_tokens() != asynchronous
    assert first_tokens(engine__async_scheduling="auto") == (asynchronous if ahead else sync)


def test_auto_leaves_engines_that_do_not_schedule_ahead_alone():
    auto, sync = (requests(systems=BROS, engine__async_scheduling=v) for v in ("auto", "false"))
    assert auto.equals(sync)


def test_a_request_waits_for_the_front_end_of_the_profile():
    assert (requests()["queued_s"] == requests()["arrival_s"]).all()
    table = requests(cluster__profile="rtxpro6000/llama-3.1-8b-tp1")
    waited = (table["queued_s"] - table["arrival_s"]).tolist()
    assert waited == pytest.approx([0.0011] * len(table), abs=1e-6)


def test_what_is_not_set_is_no_part_of_a_points_key():
    plain = loaded().points[0].plain
    assert "engine" not in plain
    assert "over_model_len" not in plain["cluster"]
    assert loaded(engine__async_scheduling="auto").points[0].plain["engine"] == {
        "async_scheduling": "auto"
    }
