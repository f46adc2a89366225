"""`bros-sim trace`: what it prints, writes and refuses."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.workload.traces import read_trace


def run(*args, code=0):
    result = CliRunner().invoke(app, ["trace", *map(str, args)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def conv(tmp_path):
    path = tmp_path / "conv.csv"
    run("synth", path, "--twin", "azure-conv", "--duration", 300, "--rate", 4, "--seed", 1)
    return path


def test_list():
    assert "azure-conv" in run("list").stdout
    twins = json.loads(run("list", "--format", "json").stdout)
    assert {"azure-conv", "sharegpt"} <= {twin["name"] for twin in twins}


def test_synth_is_repeatable(conv, tmp_path):
    again = tmp_path / "again.csv"
    run("synth", again, "--twin", "azure-conv", "--duration", 300, "--rate", 4, "--seed", 1)
    assert again.read_bytes() == conv.read_bytes()
    assert len(read_trace(conv)) == pytest.approx(1200, abs=140)


def test_stats(conv, tmp_path):
    picture = tmp_path / "p.png"
    assert "fano_60_s" in run("stats", conv, "--plot", picture).stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    numbers = json.loads(run("stats", conv, "--format", "json").stdout)
    assert numbers["rows"]["rows_kept"] == len(read_trace(conv))
    assert numbers["arrivals"]["rate_rps"] == pytest.approx(4, rel=0.12)
    assert json.loads(run("stats", "lmsys", "--format", "json").stdout)["format"] == "twin"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_convert_keeps_everything(tmp_path, ending):
    source, out = tmp_path / "in.csv", tmp_path / f"out.{ending}"
    source.write_text(
        "arrival_s,prompt_tokens,output_tokens,class,slo_ttft_s,slo_tpot_s,slo_e2e_s,max_tokens,"
        "prefix_hashes,hash_block_tokens\n0.1,40,7,be,9,,60,50,1 2,32\n1,20,8,,,,,,1,32\n"
    )
    run("convert", source, out)
    a, b = read_trace(source), read_trace(out)
    assert b.format.startswith("canonical")
    names = ("arrival_s", "prompt_tokens", "output_tokens", "max_tokens", "ttft_slo_s", "e2e_slo_s")
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.service_class, a.prefix_hashes) == (b.service_class, b.prefix_hashes)
    assert (a.tpot_slo_s, b.tpot_slo_s, b.hash_block_tokens) == (None, None, 32)


def test_convert_says_what_it_dropped(conv, tmp_path):
    result = run("convert", conv, tmp_path / "o.parquet", "--most-prompt", 500)
    kept = read_trace(tmp_path / "o.parquet")
    assert kept.prompt_tokens.max() <= 500
    assert f"filtered {len(read_trace(conv)) - len(kept):,}" in result.stderr


def test_a_trace_is_never_written_over_itself(conv, tmp_path):
    before = conv.read_bytes()
    (tmp_path / "link.csv").symlink_to(conv)
    (tmp_path / "twin.json").symlink_to(conv)
    for out in (conv, tmp_path / "link.csv", tmp_path / "." / ".." / tmp_path.name / conv.name):
        assert run("convert", conv, out, code=2).stderr == (
            f"{out}: is the file that is read; write to another\n"
        )
    assert (
        "is the file that is read"
        in run("synth", tmp_path / "twin.json", "--twin-of", conv, code=2).stderr
    )
    assert conv.read_bytes() == before
    assert (tmp_path / "link.csv").is_symlink()


def test_twin_of_a_trace_of_ones_own(conv, tmp_path):
    twin = tmp_path / "mine.json"
    run("synth", twin, "--twin-of", conv, "--licence", "internal")
    assert "internal" in run("stats", twin).stdout
    run("synth", tmp_path / "again.csv", "--twin", twin, "--duration", 300)
    assert len(read_trace(tmp_path / "again.csv")) == pytest.approx(1200, rel=0.2)


def test_synth_from_generators(tmp_path):
    out = tmp_path / "o.csv"
    arrivals, lengths = "{kind: constant, rate_rps: 2}", "{kind: fixed, prompt: 5, output: 6}"
    run("synth", out, "--arrivals", arrivals, "--lengths", lengths, "--duration", 3)
    assert read_trace(out).arrival_s.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    run("synth", out, "--arrivals", arrivals, "--twin", "lmsys", "--duration", 3)
    run("synth", out, "--twin", "lmsys", "--rate", 9, "--duration", 3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("stats", "azure-con"), "did you mean 'azure-conv'"),
        (("stats", "none.csv"), "none.csv: cannot be read"),
        (("stats", "azure-conv", "--plot", "p.doc"), "must end in .png"),
        (("synth", "o.csv"), "give --twin, or --arrivals and --lengths"),
        (("synth", "o.csv", "--twin", "sharegpt"), "has no arrivals of its own; give --rate"),
        (("synth", "o.csv", "--twin", "sharegtp"), "did you mean 'sharegpt'"),
        (("synth", "o.xls", "--twin", "azure-conv"), "must end in .csv"),
        (("synth", "none/o.csv", "--twin", "azure-conv"), "cannot be written"),
        (
            ("synth", "o.csv", "--twin", "lmsys", "--arrivals", "{kind: poison, rate_rps: 1}"),
            "--arrivals:1:18: arrivals.kind: there is no arrival process of kind 'poison'",
        ),
        (
            ("synth", "o.csv", "--twin", "lmsys", "--arrivals", "{kind: closed_loop, clients: 1}"),
            "a closed loop has no arrival times",
        ),
        (
            ("synth", "o.csv", "--twin", "lmsys", "--arrivals", "{kind: poisson, rate_rps: 0}"),
            "no request falls in",
        ),
        (("synth", "o.csv", "--twin", "azure-conv", "--duration", "1e300"), "--duration"),
        (("synth", "o.txt", "--twin-of", "none.csv"), "must end in .json"),
        (("convert", "none.csv", "o.csv"), "none.csv: cannot be read"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    result = run(*args, code=2)
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []
