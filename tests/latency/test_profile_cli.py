import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.cli import app
from bros_sim.profiles.profile import DEFAULT_PROFILE, profile_ids

TABLE_FILE = str(Path(__file__).parent / "table_profile.yaml")


def run(*arguments):
    return CliRunner().invoke(app, ["profile", *arguments])


def test_list_prints_a_row_per_profile_with_its_error():
    lines = run("list").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if "/" in line}
    assert set(profile_ids()) <= set(rows)
    assert "Kernel-calibrated (vLLM 0.14 kernels)" in rows[DEFAULT_PROFILE]
    assert rows[DEFAULT_PROFILE].split()[-4:] == ["hybrid", "28,220", "0.8", "2.2"]
    assert rows["a100-80gb/opt-66b-tp2"].split()[-2:] == ["-", "-"]


def test_list_as_json():
    profiles = {item["id"]: item for item in json.loads(run("list", "--format", "json").stdout)}
    assert list(profiles) == profile_ids()
    assert profiles[DEFAULT_PROFILE]["kv_bytes_per_token"] == 131_072
    assert profiles[DEFAULT_PROFILE]["errors"]["hybrid"]["mape_pct"] == 0.78


def test_show_prints_all_facts():
    text = run("show", DEFAULT_PROFILE).stdout
    for fact in ("28220", "Apache-2.0", "models.hybrid.overhead.per_seq_ms", "18.77"):
        assert fact in text
    facts = json.loads(run("show", DEFAULT_PROFILE, "--format", "json").stdout)
    assert facts["models"]["hybrid"]["overhead"] == {"const_ms": 0.46, "per_seq_ms": 0.0146}
    assert facts["iteration_ms"]["decode 64 requests, 65,536 KV tokens"] == 18.77


@pytest.mark.parametrize("name", [DEFAULT_PROFILE, "a100-40gb/opt-13b-tp2", TABLE_FILE])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_show_draws_a_figure(tmp_path, name, suffix):
    file = tmp_path / f"profile.{suffix}"
    assert run("show", name, "--plot", str(file)).exit_code == 0
    assert file.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "a100-80gb/llama3-8b-tp1"), "did you mean 'a100-80gb/llama-3-8b-tp1'?"),
        (("show", "no/such.yaml"), "no/such.yaml: cannot be read"),
        (("show", DEFAULT_PROFILE, "--plot", "a.doc"), "must end in .png, .svg or .pdf"),
        (("show", DEFAULT_PROFILE, "--plot", "no/such/a.png"), "--plot no/such/a.png: cannot be"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_table_in_the_docs_is_what_list_prints():
    docs = (Path(__file__).parents[2] / "docs" / "latency.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in docs.splitlines() if "-tp" in line]
    documented = [" ".join(row) for row in rows if row[0] in profile_ids()]
    printed = [" ".join(line.split()) for line in run("list").stdout.splitlines() if "/" in line]
    assert documented == printed
