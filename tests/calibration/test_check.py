import dataclasses
import json
import re
from pathlib import Path

import pytest
from calibration.synthetic import HYBRID, rows_of
from typer.testing import CliRunner

from bros_sim.calibration.check import check_profile, floor_s, physics_problems
from bros_sim.calibration.step_rows import write_steps
from bros_sim.cli import app
from bros_sim.config import read_yaml
from bros_sim.engine.latency_model import StepShape
from bros_sim.experiment import load
from bros_sim.experiment.build import facts, read_point
from bros_sim.profiles.profile import load_profile, profile_ids, profile_path

DEFAULT = "a100-80gb/llama-3-8b-tp1"
IMPORTS = Path(__file__).parents[1] / "data" / "imports"


def run(*arguments):
    return CliRunner().invoke(app, ["profile", *(str(word) for word in arguments)])


@pytest.mark.slow
def test_every_shipped_profile_passes():
    done = run("check")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.endswith(f"{len(profile_ids())}/{len(profile_ids())} profiles pass\n")


def test_stated_errors_are_computed_again_from_the_tables(shared_tables):
    done = run("check", DEFAULT, "--tables", shared_tables, "--format", "json")
    assert done.exit_code == 0, done.stdout
    (checked,) = json.loads(done.stdout)
    assert set(checked["errors"]) == {"hybrid", "roofline"}
    assert checked["errors"]["hybrid"]["by_kind"]["decode"]["mape_pct"] > 0
    assert not checked["not_computed"]
    assert run("check", DEFAULT, "--format", "json").stdout.count("kernel sums") == 1


BROKEN = [
    (r"mape_pct: 2\.3\n", "mape_pct: 2.40\n", "errors.roofline.mape_pct is stated as 2.4"),
    ("num_gpu_blocks: 28220", "num_gpu_blocks: 30000", "its rule gives 28220"),
    (r"ms: \[10\.4186", "ms: [1.4186", "the hardware needs"),
    (r"452\.4\]", "45.24]", "more prompt tokens takes less time"),
    (r"max_decode_jobs: 256, ", "", "validity.max_decode_jobs is not stated"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_a_profile_that_cannot_be_is_found_out(tmp_path, old, new, message):
    text, count = re.subn(old, new, profile_path(DEFAULT).read_text(), count=1)
    assert count == 1
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    done = run("check", file)
    assert done.exit_code == 1
    assert message in done.stdout
    assert "0/1 profiles pass" in done.stdout


def test_tokens_take_less_time_only_as_the_engine_was_measured_to():
    profile = load_profile("rtxpro6000/llama-3.1-8b-tp1")
    assert not list(physics_problems(profile, "layers", profile.models.layers))
    unexplained = dataclasses.replace(profile, engine=None)
    faults = list(physics_problems(unexplained, "layers", profile.models.layers))
    assert faults
    assert all("more prompt tokens" in line for line in faults)


def test_a_stated_error_that_the_tables_deny_is_found_out(shared_tables, tmp_path):
    text = profile_path(DEFAULT).read_text()
    file = tmp_path / "broken.yaml"
    stated = load_profile(DEFAULT).errors["hybrid"].mape_pct
    file.write_text(text.replace(f"mape_pct: {stated}", "mape_pct: 0.5", 1))
    (fault,) = check_profile(str(file), shared_tables).problems
    assert fault == f"errors.hybrid.mape_pct is stated as 0.5, computed again it is {stated}"


def test_the_floor_by_hand():
    profile = load_profile(DEFAULT)
    read = 2 * (8_030_261_248 - 128256 * 4096) + 131072 * 5000
    assert floor_s(profile, StepShape((), 4, 5000)) == pytest.approx(read / 2039e9)
    layers = 8_030_261_248 - 2 * 128256 * 4096
    flops = 2 * layers * 8000
    assert floor_s(profile, StepShape(((8000, 0),), 0, 0)) == pytest.approx(flops / 312e12)


def test_a_model_that_takes_no_time_is_no_model():
    profile = load_profile("a100-80gb/opt-13b-tp1")
    linear = dataclasses.replace(
        profile.models.linear, prefill_ms=0.0, prefill_per_token_ms=0.0, prefill_per_token2_ms=0.0
    )
    assert any("no time at all" in line for line in physics_problems(profile, "linear", linear))


@pytest.mark.slow
def test_fit_writes_a_profile_that_simulates_and_says_what_it_is(tmp_path):
    steps, out, plot = (tmp_path / name for name in ("steps.csv", "mine.yaml", "error.svg"))
    write_steps(rows_of(HYBRID, 500, noise=0.02), steps)
    line = ["fit", steps, "--gpu", "a100-80gb", "--model", "llama-3-8b", "--out", out]
    done = run(*line, "--plot", plot, "--source", "a lab engine")
    assert done.exit_code == 0, done.output
    assert "Fitted to measured steps (a lab engine), hybrid, 28,220 KV blocks" in done.stdout
    assert [row.split()[0] for row in done.stdout.splitlines() if re.match(r" +[apdm]\w+ +\d", row)]
    profile = load_profile(out)
    assert profile.errors["hybrid"].mape_pct == pytest.approx(1.6, abs=0.5)
    assert len(profile.uncertainty["hybrid"].factors) > 1
    assert run("check", out).exit_code == 0
    drawing = plot.read_bytes()
    assert run(*line, "--plot", plot, "--source", "a lab engine").exit_code == 0
    assert plot.read_bytes() == drawing
    assert b"<svg" in drawing[:500]


def test_what_import_writes_is_fitted_and_passes(tmp_path):
    steps, out = tmp_path / "steps.csv", tmp_path / "mine.yaml"
    done = run("import", IMPORTS / "forward.json", "--out", steps)
    assert done.exit_code == 0, done.output
    model = IMPORTS / "llama-3.1-8b" / "config.json"
    done = run("fit", steps, "--gpu", "a100-80gb", "--model", model, "--out", out)
    assert done.exit_code == 0, done.output
    assert load_profile(out).id == "a100-80gb/llama-3.1-8b-tp1"
    done = run("check", out)
    assert done.exit_code == 0, done.stdout


@pytest.mark.parametrize("form", ["linear", "roofline"])
def test_the_other_forms(tmp_path, form):
    steps, out = tmp_path / "steps.csv", tmp_path / "mine.yaml"
    write_steps(rows_of(HYBRID, 300), steps)
    line = ["fit", steps, "--gpu", "a100-80gb", "--model", "llama-3-8b", "--out", out]
    done = run(*line, "--form", form, "--format", "json")
    told = json.loads(done.stdout)
    assert set(told["errors"]["by_kind"]) == {"prefill", "decode", "mixed"}
    assert load_profile(out).default_model == form


def test_results_with_a_derived_profile_say_so(tmp_path):
    out = tmp_path / "l4.yaml"
    done = run("derive", "--gpu", "l4-24gb", "--model", "llama-3-8b", "--out", out)
    assert done.exit_code == 0, done.output
    assert "stated relative error of all iterations together: 20 %" in done.stdout
    file = tmp_path / "e.yaml"
    file.write_text(
        "name: e\nseed: 1\nduration_s: 1\ncluster: {profile: l4.yaml}\n"
        "workload:\n  a: {class: rt, arrivals: {kind: poisson, rate_rps: 1},"
        " lengths: {kind: fixed, prompt: 10, output: 2}, slo: {ttft_s: 1}}\n"
        "systems: {vLLM: {scheduler: {kind: vllm}, kv: {kind: paged}}}\n"
    )
    (point,) = load(read_yaml(file)).points
    label = facts(read_point(point.resolved))["profile_label"]
    assert label == "Derived from data sheet peaks (nothing measured)"


FIT, DERIVE = ("fit", "none.csv"), ("derive", "--gpu", "l4-24gb")
LLAMA = ("--model", "llama-3-8b")
FAULTS = [
    ((*FIT, "--gpu", "a100-80gb", *LLAMA), "none.csv: cannot be read"),
    ((*FIT, "--gpu", "a1", *LLAMA), "--gpu a1: there is no such GPU"),
    ((*DERIVE, "--model", "none.json"), "none.json: cannot be read"),
    ((*DERIVE, *LLAMA, "--tp", "5"), "--tp 5: does not divide"),
]


@pytest.mark.parametrize(("arguments", "message"), FAULTS)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, arguments, message):
    out = tmp_path / "out.yaml"
    done = run(*arguments, "--out", out)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_profile_is_yaml_and_a_figure_is_a_figure(tmp_path):
    done = run("derive", "--gpu", "l4-24gb", "--model", "llama-3-8b", "--out", tmp_path / "a.json")
    assert "the name of a profile ends in .yaml" in done.stderr
    line = ("fit", "s.csv", "--gpu", "a100-80gb", "--model", "llama-3-8b", "--out", "a.yaml")
    assert "must end in .png, .svg or .pdf" in run(*line, "--plot", "a.doc").stderr
