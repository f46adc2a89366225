"""`bros-sim tune`: the best of a grid, resuming, held-out seeds, and what it refuses."""

import importlib.util
import itertools
import json
import sys

import pandas as pd
import pytest

from bros_sim.cli.experiments import Progress
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters
from tests.cli.test_run import FRAGILE, contents, points

pytestmark = pytest.mark.slow

needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="needs optuna: pip install 'bros-sim[opt]'"
)
SEATS, POLICY = "systems.one.scheduler.max_num_seqs", "systems.one.scheduler.policy"
QUEUE = """\
name: queue
duration_s: 8
warmup_s: 1
drain_s: 30
cluster: {profile: a100-80gb/llama-3-8b-tp1}
latency: {kind: linear, prefill_ms: 50, prefill_per_token_ms: 0.5, decode: {const_ms: 10}}
workload:
  chat:
    class: rt
    arrivals: {kind: poisson, rate_rps: 2}
    lengths: {kind: fixed, prompt: 100, output: 4}
    slo: {ttft_s: 0.5}
  batch:
    class: be
    arrivals: {kind: closed_loop, clients: 6}
    lengths: {kind: fixed, prompt: 20, output: 8}
systems:
  one: {scheduler: {kind: vllm, max_num_seqs: 5}, kv: {kind: paged}}
"""
"""More seats: more BE tokens, and more that stands in the way of RT."""
MOST = ("--maximize", "output_throughput[be]")
LIMITS = ("--target", "mean_tpot_ms <= 12", "--target", "mean_ttft_ms[rt] <= 185")
FEW = ("--seeds", "2", "--held-out", "3")
GRID = ("--vary", f"{SEATS}=5..7", "--vary", f"{POLICY}=fcfs,priority")
WIDE = ("--vary", f"{SEATS}=1..64:log", "--vary", "systems.one.scheduler.watermark=0.01..0.5")


@pytest.fixture
def queue(tmp_path):
    """The experiment as a file."""
    path = tmp_path / "queue.yaml"
    path.write_text(QUEUE)
    return path


def told(folder, name):
    return pd.read_csv(next((folder / "tuning").glob(f"*/{name}.csv")), keep_default_na=False)


def ages(folder):
    """Point -> when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "points").iterdir()}


def brute_force(bros, queue):
    """The best of the grid within the limits, from a plain sweep of it."""
    grid = {SEATS: [5, 6, 7], POLICY: ["fcfs", "priority"]}
    sweep = ("--set", f"sweep.grid={json.dumps(grid)}", "--set", "sweep.seeds=2")
    result = bros("run", queue, *sweep, "--out", "brute")
    assert result.exit_code == 0, result.output
    table = pd.read_csv("brute/queue/summary.csv")
    means = table.groupby([SEATS, POLICY, "class"])[
        ["output_throughput", "mean_tpot_ms", "mean_ttft_ms"]
    ].mean()
    be, rt = (means.xs(name, level="class") for name in ("be", "rt"))
    within = (rt["mean_tpot_ms"] <= 12) & (rt["mean_ttft_ms"] <= 185)
    assert 1 < within.sum() < len(rt)  # the limits matter
    assert be["output_throughput"].idxmax() != be["output_throughput"][within].idxmax()
    return be["output_throughput"], be["output_throughput"][within].idxmax()


@needs_optuna
def test_it_finds_what_a_sweep_of_the_whole_grid_finds(bros, queue, tmp_path):
    values, best = brute_force(bros, queue)
    result = bros("tune", queue, *GRID, *MOST, *LIMITS, *FEW, "--trials", "6")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "results" / "queue"
    trials = told(folder, "trials")
    (chosen,) = trials[trials["best"]].to_dict("records")
    assert (chosen[SEATS], chosen[POLICY]) == best
    assert chosen["output_throughput[be]"] == pytest.approx(values[best])
    tried = set(zip(trials[SEATS], trials[POLICY], strict=True))
    assert tried == set(itertools.product([5, 6, 7], ["fcfs", "priority"]))
    assert len(trials) == 6  # the values given are one of them, and not run twice
    assert ["max_num_seqs", "5", str(best[0])] in [*map(str.split, result.stdout.splitlines())]

    answer = told(folder, "answer").set_index(["on", "metric"])
    assert set(answer["first_seed"].xs("held out")) == {2}  # seeds 0 and 1 chose
    fresh = answer.loc[("held out", "output_throughput")]
    assert fresh["difference"] == pytest.approx(fresh["best"] - fresh["as given"])
    assert fresh["low"] < fresh["difference"] < fresh["high"]
    assert "On seeds 2 to 4, which played no part:" in result.stdout
    assert "Against the values given, over the same 3 seeds: the best combination" in result.stdout
    assert len(points(folder)) == 6 * 2 + 2 * 3
    options = (*GRID, *MOST, *LIMITS, *FEW, "--trials", "6", "--format", "json")
    said = json.loads(bros("tune", queue, *options).stdout)
    assert said["best"]["values"] == dict(zip((SEATS, POLICY), best, strict=True))
    for kind in ("png", "svg"):
        assert next((folder / "tuning").glob(f"*/tuning.{kind}")).stat().st_size


@needs_optuna
def test_interrupted_resumed_and_longer_with_any_number_of_workers(
    bros, queue, tmp_path, monkeypatch
):
    def search(trials, *options):
        few = (*FEW, "--set", "duration_s=4", "--trials", trials)
        return bros("tune", queue, *WIDE, *MOST, *LIMITS, *few, *options)

    whole = search(3, "--workers", 2, "--out", "whole")
    assert whole.exit_code == 0, whole.output
    advance = Progress.advance

    def interrupt(progress, point, outcome):
        advance(progress, point, outcome)
        if progress.total == 6 and progress.done == 3:  # of the first batch: 3 trials, 2 seeds
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        result = search(3)
    assert result.exit_code == 130
    assert "resume with: the same command" in result.stderr
    folder = tmp_path / "results" / "queue"
    before = ages(folder)
    assert len(before) == 2 + 3
    again = search(3)
    assert again.stdout == whole.stdout
    assert contents(folder) == contents(tmp_path / "whole" / "queue")
    assert ages(folder).items() >= before.items()  # none of them ran again

    short, before = told(folder, "trials"), ages(folder)
    assert search(5).exit_code == 0
    longer = told(folder, "trials")
    assert len(longer) == 6
    assert (
        longer["systems.one.scheduler.watermark"][0] == VllmScheduler(VllmParameters()).watermark
    )  # unwritten
    assert longer[:4].drop(columns="best").equals(short.drop(columns="best"))
    assert ages(folder).items() > before.items()


@needs_optuna
def test_the_values_given_may_be_the_best_and_targets_out_of_reach(bros, queue, tmp_path):
    best = ("--set", f"{SEATS}=6", "--vary", f"{SEATS}=2,4", *FEW, "--set", "duration_s=4")
    result = bros("tune", queue, *best, "--maximize", "output_throughput[be]")
    assert result.exit_code == 0, result.output
    assert "nothing that was tried is better than the values given" in result.stdout
    assert "in words" not in result.stdout
    never = ("--minimize", "mean_ttft_ms[be]", "--target", "output_throughput[be] >= 9e9")
    result = bros("tune", queue, *best, *never)
    assert "0 of which keep them" in result.stdout
    assert "None keeps the targets; this one misses them by least." in result.stdout


@needs_optuna
def test_what_it_leaves_aside_is_said(bros, queue):
    until = "sweep.until={half_width: {'mean_ttft_ms[rt]': 1}}"
    few = ("--trials", "1", *FEW, "--set", "sweep.seeds=5", "--set", until)
    result = bros("tune", queue, "--vary", f"{SEATS}=5,6", *MOST, *few)
    assert result.exit_code == 0, result.output
    assert "warning: sweep.until is left aside" in result.stderr


@needs_optuna
def test_refused_and_failing_combinations_are_told_and_never_best(bros, queue, tmp_path):
    (tmp_path / "failing_policy.py").write_text(FRAGILE)
    kinds = "{kind: vllm},{kind: tgi},{kind: 'failing_policy:Fragile'}"
    vary = ("--vary", f"systems.one.scheduler={kinds}")
    vary += ("--vary", "systems.one.kv={kind: paged},{kind: reserved}")
    result = bros("tune", queue, *vary, *MOST, *FEW, "--set", "duration_s=4")
    assert result.exit_code == 1, result.output
    assert "RuntimeError: out of ideas" in result.stderr
    trials = told(tmp_path / "results" / "queue", "trials").set_index("trial")
    assert "the scheduler never preempts" in trials["error"][trials["verdict"] == "refused"].item()
    assert list(trials["verdict"]).count("failed") == 2
    assert trials["verdict"][trials["best"]].item() == "keeps"


VARY_SEATS = "--vary", f"{SEATS}=1..8"
SYSTEM = "{scheduler: {kind: vllm}, kv: {kind: paged}}"


@needs_optuna
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--vary", "systems.one.scheduler.max_num_seq=1..2"], "did you mean 'max_num_seqs'?"),
        (["--vary", "systems.two.scheduler.max_num_seqs=1..2"], "systems has no 'two'"),
        (["--vary", "seed=1..2"], "--vary seed: seed cannot be varied"),
        (["--vary", SEATS], "write PATH=LOW..HIGH, PATH=LOW..HIGH:log or PATH=A,B,C"),
        (["--vary", f"{SEATS}=8..1"], f"--vary {SEATS}=8..1: 8 is not below 1"),
        (["--vary", f"{SEATS}=0..8:log"], "a log range has to begin above 0"),
        (["--vary", f"{SEATS}=a..b"], "'a' is not a number"),
        (["--vary", f"{SEATS}=1..nan"], "'nan' is not a number"),
        (["--vary", f"{SEATS}=0..8"], f"--vary: {SEATS}: should be at least 1 (got 0)"),
        (["--vary", f"{SEATS}=1.5..8"], f"--vary: {SEATS}: should be a valid integer (got 1.5)"),
        (["--vary", f"{SEATS}=4"], "one value is nothing to search"),
        (["--vary", f"{SEATS}=4,4"], "a value is listed twice"),
        (["--vary", f"{POLICY}=fcfs,prio"], "did you mean 'priority'?"),
        (["--vary", f"{POLICY}=[fcfs"], "not a list of YAML values"),
        ([*VARY_SEATS, *VARY_SEATS], f"--vary {SEATS}: is given twice"),
        ([*VARY_SEATS, "--system", "two"], "--system two: there is no such system"),
        ([*VARY_SEATS, "--minimize", "mean_ttft_ms"], "one of --maximize MEASURE and --minimize"),
        ([*VARY_SEATS, "--target", "slo_attainment > 2"], "write METRIC[CLASS] >= NUMBER"),
        ([*VARY_SEATS, "--target", "slo_attainment[be] >= 0.9"], "has no value as given"),
        (
            [*VARY_SEATS, "--set", "sweep.grid.workload.batch.arrivals.clients=[1,2]"],
            "clients has 2 values: a search is for one setting: add --set 'sweep.grid.",
        ),
        (
            ["--vary", "cluster.replicas=1..2", "--set", f"systems.b={SYSTEM}"],
            "--system: say which one to tune: one, b",
        ),
    ],
)
def test_bad_questions_are_one_clear_line(bros, queue, options, says):
    result = bros("tune", queue, *MOST, *options, *FEW, "--set", "duration_s=2", "--trials", "1")
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_without_optuna_it_names_the_extra(bros, queue, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("bros_sim.study.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    result = bros("tune", queue, *GRID, *MOST)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("tune needs the extra: pip install 'bros-sim[opt]'")
    assert not result.stdout
