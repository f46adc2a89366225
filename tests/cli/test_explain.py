"""`bros-sim explain`: a request's story, and what it says when there is none."""

import json

import pandas as pd
import pytest

from tests.cli.conftest import EXPERIMENT

pytestmark = pytest.mark.slow

PLAIN = EXPERIMENT[: EXPERIMENT.index("sweep:")].replace("rate_rps: 4", "rate_rps: 8")
ONE = PLAIN[: PLAIN.index("  Priority:")].replace("kind: vllm", "kind: vllm, max_num_seqs: 2")
ASKED = "outputs: {decisions: true}\n"


def run(bros, tiny, text):
    tiny.write_text(text)
    result = bros("run", tiny)
    assert result.exit_code == 0, result.output
    return result


def point(tmp_path):
    (folder,) = (tmp_path / "results" / "tiny" / "points").iterdir()
    return folder


def test_the_story_of_a_request_that_waited(bros, tiny, tmp_path):
    run(bros, tiny, ONE + ASKED)
    log = pd.read_parquet(point(tmp_path) / "decisions.parquet")
    requests = pd.read_parquet(point(tmp_path) / "requests.parquet")
    waited = log[(log["reason"] == "seats") & (log["count"] > 1)].iloc[0]
    name = requests["request_id"].iloc[waited["request"]]
    result = bros("explain", "results/tiny", "--request", name)
    assert result.exit_code == 0, result.output
    words = [
        "arrives at replica 0",
        f"passed over {waited['count']} times until {waited['last_s']:.3f} s"
        ": first because all 2 seats are taken",
        "admitted with 0 cached tokens",
        "first token",
        "finished",
    ]
    places = [result.stdout.index(text) for text in words]
    assert places == sorted(places)
    assert "system=FCFS, seed=1" in result.stdout


def test_the_same_as_json_with_the_verdict(bros, tiny):
    run(bros, tiny, ONE + ASKED)
    story = json.loads(
        bros("explain", "results/tiny", "--request", "chat-0", "--format", "json").stdout
    )
    assert story["request"] == "chat-0"
    whats = [event["what"] for event in story["events"]]
    assert whats[0] == "arrived"
    assert [what for what in whats if what in {"admitted", "first_token", "completed"}] == [
        "admitted", "first_token", "completed",
    ]  # fmt: skip
    assert [line.partition(" ")[0] for line in story["slo"]] == ["TTFT", "TPOT"]
    assert story["slo_met"] == all(" met" in line for line in story["slo"])


def test_decisions_are_no_part_of_what_a_point_is(bros, tiny, tmp_path):
    """The same folder with and without; one without them runs again when they are asked for."""
    run(bros, tiny, ONE)
    before = {path.name: path.read_bytes() for path in point(tmp_path).iterdir()}
    assert "decisions.parquet" not in before
    assert "1/1 points" in run(bros, tiny, ONE + ASKED).stderr
    after = {path.name: path.read_bytes() for path in point(tmp_path).iterdir()}
    assert after.pop("decisions.parquet")
    assert {name for name in before if before[name] != after[name]} == {"summary.json"}
    assert "already in" in run(bros, tiny, ONE + ASKED).stderr
    assert "already in" in run(bros, tiny, ONE).stderr


@pytest.mark.parametrize(
    ("asked", "words", "message"),
    [
        ("", ("chat-0",), "add this line to the experiment and run it again: `outputs: {decisions"),
        (ASKED, ("caht-0",), "there is no request 'caht-0' (did you mean 'chat-...'?)"),
        (ASKED, ("chat-9999",), "there is no request 'chat-9999' (there are chat-0 to chat-"),
        (ASKED, ("chat-0", "--point", "2"), "no such point. There are:\n  --point 1: system=FCFS"),
        (ASKED, ("chat-0", "--seed", "7"), "no such point. There are:\n  --point 1: system=FCFS"),
    ],
)
def test_what_cannot_be_told(bros, tiny, asked, words, message):
    run(bros, tiny, ONE + asked)
    result = bros("explain", "results/tiny", "--request", *words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_several_points(bros, tiny):
    run(bros, tiny, PLAIN + ASKED)
    story = ("explain", "results/tiny", "--request", "chat-0")
    result = bros(*story)
    assert result.exit_code == 2
    assert "--point 1: system=FCFS, seed=1\n  --point 2: system=Priority, seed=1" in result.stderr
    chosen = bros(*story, "--system", "Priority")
    assert chosen.exit_code == 0, chosen.output
    assert chosen.stdout == bros(*story, "--point", "2").stdout


def test_a_damaged_log(bros, tiny, tmp_path):
    run(bros, tiny, ONE + ASKED)
    (point(tmp_path) / "decisions.parquet").write_bytes(b"PAR1 not")
    result = bros("explain", "results/tiny", "--request", "chat-0")
    assert result.exit_code == 2
    assert "damaged, run it again" in result.stderr
    assert "decisions.parquet is not" in bros("run", tiny).stderr
    assert bros("explain", "results/tiny", "--request", "chat-0").exit_code == 0


def test_it_cannot_be_swept(bros, tiny):
    tiny.write_text(ONE + "sweep: {grid: {outputs.decisions: [true]}}\n")
    result = bros("check", tiny)
    assert result.exit_code == 2
    assert "outputs.decisions" in result.stderr
