"""Bad input: each kind has its message with its place, exit code 2, and nothing is written."""

import gzip
import re

import pytest

from tests.cli.conftest import EXPERIMENT

SYSTEMS = EXPERIMENT[EXPERIMENT.index("systems:") : EXPERIMENT.index("sweep:")]
NO_SWEEP = EXPERIMENT[: EXPERIMENT.index("sweep:")]
TRACE = "arrival_s,prompt_tokens,output_tokens\n0.1,10,5\n0.5,12,5\n"


def snapshot(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def rejected(bros, folder, *args):
    """Lines on stderr of a call that must fail with code 2 and write nothing."""
    before = snapshot(folder)
    result = bros(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert snapshot(folder) == before
    return result.stderr.splitlines()


# What is changed in the experiment: old text -> new text, and the one line that must come out.
EDITS = {
    "unknown top-level key": (
        "drain_s: 60",
        "drian_s: 60",
        "4:1: drian_s: unknown key (did you mean 'drain_s'?)",
    ),
    "unknown nested key": (
        "replicas: 1",
        "replica: 1",
        "5:11: cluster.replica: unknown key (did you mean 'replicas'?)",
    ),
    "unknown parameter of a component": (
        "{kind: vllm}",
        "{kind: vllm, max_seqs: 3}",
        "17:34: systems.FCFS.scheduler.max_seqs: unknown key (did you mean 'max_num_seqs'?)",
    ),
    "missing key": ("duration_s: 5\n", "", "1:1: duration_s: this key is missing"),
    "missing class": ("class: rt\n", "\n", "workload.chat.class: this key is missing"),
    "missing kind": (
        "{kind: poisson, rate_rps: 4}",
        "{rate_rps: 4}",
        "9:15: workload.chat.arrivals: the key 'kind' is missing",
    ),
    "missing lengths": (
        "    lengths: {kind: fixed, prompt: 64, output: 8}\n",
        "",
        "8:5: workload.chat.lengths: this key is missing",
    ),
    "text for a number": (
        "duration_s: 5",
        "duration_s: five",
        '3:13: duration_s: should be a valid number (got "five")',
    ),
    "quoted number": (
        "duration_s: 5",
        "duration_s: '5'",
        '3:13: duration_s: should be a valid number (got "5")',
    ),
    "fraction for a count": (
        "replicas: 1",
        "replicas: 1.5",
        "5:21: cluster.replicas: should be a valid integer (got 1.5)",
    ),
    "truth value for a number": (
        "seed: 1",
        "seed: true",
        "2:7: seed: should be a valid integer (got true)",
    ),
    "negative time": (
        "duration_s: 5",
        "duration_s: -5",
        "3:13: duration_s: should be at least 0.000001 (got -5)",
    ),
    "zero time": (
        "duration_s: 5",
        "duration_s: 0",
        "3:13: duration_s: should be at least 0.000001 (got 0)",
    ),
    "a time that the clock does not tell from zero": (
        "duration_s: 5\ndrain_s: 60",
        "duration_s: 1e-10\ndrain_s: 0",
        "3:13: duration_s: should be at least 0.000001 (got 1e-10)",
    ),
    "latency of nothing": (
        "drain_s: 60",
        "latency: {kind: linear, prefill_ms: 1}",
        "4:10: latency: an iteration would take 0 s: one decode with one token in the cache; the"
        " least is 1e-06 s",
    ),
    "prefill in no time": (
        "drain_s: 60",
        "latency: {kind: linear, decode: {const_ms: 1}}",
        "4:10: latency: an iteration would take 0 s: one prefill chunk of one token",
    ),
    "decode below the clock": (
        "drain_s: 60",
        "latency: {kind: linear, prefill_ms: 1, decode: {per_kv_token_ms: 0.0009}}",
        "4:10: latency: an iteration would take 9e-07 s: one decode",
    ),
    "latency that fails": (
        "drain_s: 60",
        "latency: {kind: 'tests.cli.broken_latency:Broken', prefill_ms: 1}",
        "4:10: latency: step_s fails: ZeroDivisionError: division by zero",
    ),
    "bag after the run": (
        "{kind: closed_loop, clients: 2}",
        "{kind: bag, count: 3, release_s: 9}",
        "12:3: workload.batch: no request falls in the run's 5 s; the bag is released at 9 s",
    ),
    "NaN": (
        "duration_s: 5",
        "duration_s: .nan",
        "3:13: duration_s: should be a finite number (got NaN)",
    ),
    "infinity": (
        "drain_s: 60",
        "drain_s: .inf",
        "4:10: drain_s: should be a finite number (got Infinity)",
    ),
    "huge number": (
        "duration_s: 5",
        "duration_s: 1e300",
        "3:13: duration_s: should be less than 4194304 (got 1e+300)",
    ),
    "number of a thousand digits": (
        "seed: 1",
        f"seed: {'7' * 1000}",
        "2:7: seed: a number of 1000 digits is too large",
    ),
    "warm-up as long as the run": (
        "drain_s: 60",
        "warmup_s: 5",
        "1:1: warmup_s should be less than duration_s",
    ),
    "warm-up by a rule that there is not": (
        "drain_s: 60",
        "warmup_s: mser",
        '4:11: warmup_s: should be a valid number (got "mser") or should be \'mser5\' (got "mser";'
        " did you mean 'mser5'?)",
    ),
    "run and drain beyond the clock": (
        "drain_s: 60",
        "drain_s: 4194303",
        "1:1: duration_s + drain_s should be less than 4194304 s (48 days)",
    ),
    "no replicas": (
        "replicas: 1",
        "replicas: 0",
        "5:21: cluster.replicas: should be at least 1 (got 0)",
    ),
    "too many replicas": (
        "replicas: 1",
        "replicas: 1000000",
        "5:21: cluster.replicas: should be at most 10000 (got 1000000)",
    ),
    "unknown profile": (
        "llama-3-8b-tp1",
        "llama-3-8b-tp3",
        "5:33: cluster.profile: there is no profile 'a100-80gb/llama-3-8b-tp3' (did you mean",
    ),
    "missing profile file": (
        "a100-80gb/llama-3-8b-tp1",
        "mine.yaml",
        "5:33: cluster.profile: {folder}/mine.yaml: cannot be read: No such file or directory",
    ),
    "unknown kind": (
        "kind: poisson",
        "kind: poison",
        "9:22: workload.chat.arrivals.kind: there is no arrival process of kind 'poison' (did you"
        " mean 'poisson'?)",
    ),
    "kind is no text": (
        "kind: paged}}\n  Pri",
        "kind: 3}}\n  Pri",
        "17:46: systems.FCFS.kv.kind: should be text (got 3)",
    ),
    "class path to nowhere": (
        "{kind: vllm}",
        "{kind: 'no_such:Policy'}",
        "17:28: systems.FCFS.scheduler.kind: cannot import no_such: No module named 'no_such'",
    ),
    "class path to a class that is no scheduler": (
        "{kind: vllm}",
        "{kind: 'bros_sim.core.request:Slo'}",
        "17:28: systems.FCFS.scheduler.kind: bros_sim.core.request:Slo is no scheduler: it has no",
    ),
    "wrong class": (
        "class: rt",
        "class: realtime",
        "8:12: workload.chat.class: should be 'rt' or 'be' (got \"realtime\")",
    ),
    "negative rate": (
        "rate_rps: 4}",
        "rate_rps: -4}",
        "workload.chat.arrivals.rate_rps: should be at least 0 (got -4)",
    ),
    "zero clients": (
        "clients: 2",
        "clients: 0",
        "14:44: workload.batch.arrivals.clients: should be at least 1 (got 0)",
    ),
    "zero tokens": (
        "prompt: 64",
        "prompt: 0",
        "10:36: workload.chat.lengths.prompt: should be at least 1 (got 0)",
    ),
    "range upside down": (
        "prompt: [16, 32]",
        "prompt: [32, 16]",
        "15:14: workload.batch.lengths: prompt: the range [32, 16] is upside down",
    ),
    "range of one": (
        "prompt: [16, 32]",
        "prompt: [16]",
        "15:38: workload.batch.lengths.prompt: should have at least 2 items (got [16])",
    ),
    "a list where a sweep is meant": (
        "rate_rps: 4}",
        "rate_rps: [4, 8]}",
        "workload.chat.arrivals.rate_rps: should be a valid number (got [4, 8])",
    ),
    "SLO of zero": (
        "ttft_s: 0.5",
        "ttft_s: 0",
        "11:19: workload.chat.slo.ttft_s: should be greater than 0 (got 0)",
    ),
    "SLO in another unit": (
        "ttft_s: 0.5",
        "ttft_ms: 500",
        "11:11: workload.chat.slo.ttft_ms: unknown key (did you mean 'ttft_s'?)",
    ),
    "unknown policy": (
        "policy: priority",
        "policy: prio",
        "systems.Priority.scheduler.policy: should be 'fcfs' or 'priority' (got \"prio\"",
    ),
    "KV of one block": (
        "{replicas: 1,",
        "{replicas: 1, num_gpu_blocks: 1,",
        "5:40: cluster.num_gpu_blocks: should be at least 2 (got 1)",
    ),
    "unknown twin": (
        "{kind: fixed, prompt: 64, output: 8}",
        "{kind: empirical, name: shrgpt}",
        "10:14: workload.chat.lengths: ",
    ),
    "name with a slash": (
        "name: tiny",
        "name: ../tiny",
        "1:7: name: should match pattern",
    ),
    "empty name": ("name: tiny", "name: ''", "1:7: name: should match pattern"),
    "no systems": (
        SYSTEMS,
        "systems: {}\n",
        "16:10: systems: should have at least 1 item (got {})",
    ),
    "systems as a list": (
        SYSTEMS,
        "systems: [{scheduler: {kind: vllm}, kv: {kind: paged}}]\n",
        "16:10: systems: should be a mapping (got [",
    ),
    "latency that the profile lacks": (
        "drain_s: 60",
        "latency: {kind: table}",
        "4:17: latency.kind: profile a100-80gb/llama-3-8b-tp1 has no coefficients",
    ),
    "duplicate key": (
        "drain_s: 60",
        "seed: 2",
        "4:1: seed: duplicate key; it is first set in line 2",
    ),
    "not YAML": (
        "class: rt",
        "class: rt: be",
        "8:14: not YAML: mapping values are not allowed here",
    ),
    "sweep path to nowhere": (
        "{workload.chat.arrivals.rate_rps: [2, 4]}",
        "{workload.chatt.arrivals.rate_rps: [2, 4]}",
        "20:10: sweep.grid.workload.chatt.arrivals.rate_rps: names nothing: workload has no 'chatt'"
        " (did you mean 'chat'?)",
    ),
    "sweep path to an unknown key": (
        "{workload.chat.arrivals.rate_rps: [2, 4]}",
        "{workload.chat.arrivals.rate: [2, 4]}",
        "20:10: workload.chat.arrivals.rate: unknown key (did you mean 'rate_rps'?)",
    ),
    "wrong value in a grid": (
        "rate_rps: [2, 4]",
        "rate_rps: [2, fast]",
        '20:47: workload.chat.arrivals.rate_rps: should be a valid number (got "fast")',
    ),
    "sweep path through an unwritten mapping, misspelt": (
        "{workload.chat.arrivals.rate_rps: [2, 4]}",
        "{cluster.ruoter.kind: [random], workload.chat.arrivals.rate_rps: [2, 4]}",
        "20:10: cluster.ruoter: unknown key (did you mean 'router'?)",
    ),
    "sweep path through a number": (
        "{workload.chat.arrivals.rate_rps: [2, 4]}",
        "{seed.deep.deeper: [2, 4]}",
        "20:10: sweep.grid.seed.deep.deeper: names nothing: seed holds no keys",
    ),
    "empty grid axis": (
        "rate_rps: [2, 4]",
        "rate_rps: []",
        "20:43: sweep.grid.workload.chat.arrivals.rate_rps: should have at least 1 item",
    ),
    "value twice in a grid": (
        "rate_rps: [2, 4]",
        "rate_rps: [2, 2]",
        "20:47: sweep.grid.workload.chat.arrivals.rate_rps.1: the value 2 occurs twice",
    ),
    "grid axis that is no list": (
        "rate_rps: [2, 4]",
        "rate_rps: 2",
        "20:43: sweep.grid.workload.chat.arrivals.rate_rps: should be a list (got 2)",
    ),
    "seed in the grid": (
        "grid: {",
        "grid: {seed: [1, 2], ",
        "20:10: sweep.grid.seed: seed cannot be swept; use sweep.seeds",
    ),
    "too many points": (
        "rate_rps: [2, 4]",
        f"rate_rps: {list(range(1, 400))}, workload.chat.slo.ttft_s: {list(range(1, 400))}",
        "20:3: sweep: 159,201 points; at most 100,000 are run",
    ),
    "zero seeds": (
        "sweep:",
        "sweep:\n  seeds: 0",
        "20:10: sweep.seeds: should be at least 1 (got 0)",
    ),
    "unknown plot": (
        "plot: attainment",
        "plot: atainment",
        "22:12: figures.0.plot: there is no plot 'atainment' (did you mean 'attainment'?)",
    ),
    "figure axis that is not swept": (
        "x: workload.chat.arrivals.rate_rps",
        "x: workload.chat.slo.ttft_s",
        "22:27: figures.0.x: 'workload.chat.slo.ttft_s' is not a sweep path",
    ),
    "unknown key of a figure": (
        "{plot: attainment,",
        "{plot: attainment, colour: red,",
        "22:24: figures.0.colour: unknown key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITS)
def test_a_fault_in_the_file(bros, tiny, tmp_path, kind):
    old, new, line = EDITS[kind]
    assert old in EXPERIMENT
    tiny.write_text(EXPERIMENT.replace(old, new, 1))
    (fault,) = rejected(bros, tmp_path, "run", tiny)
    assert fault.startswith(f"{tiny}:")
    assert line.format(folder=tmp_path) in fault if "{folder}" in line else line in fault


HEADER = "arrival_s,prompt_tokens,output_tokens\n"
TRACES = {
    "missing": (None, ": cannot be read: No such file or directory"),
    "empty": (b"", ":1: the file is empty"),
    "header only": (HEADER.encode(), ":1: the trace has no rows"),
    "unknown columns": (b"a,b,c\n1,2,3\n", ":1: an unknown trace format; known are"),
    "negative time": (
        f"{HEADER}-1,10,5\n".encode(),
        ":2: arrival_s: must not be negative, but is -1",
    ),
    "NaN": (f"{HEADER}nan,10,5\n".encode(), ":2: arrival_s: must be a finite number, not nan"),
    "infinite time": (
        f"{HEADER}inf,10,5\n".encode(),
        ":2: arrival_s: must be a finite number, not inf",
    ),
    "text for a number": (
        f"{HEADER}0.1,ten,5\n".encode(),
        ":2: prompt_tokens: must be a number, not ten",
    ),
    "negative length": (
        f"{HEADER}0.1,-10,5\n".encode(),
        ":2: prompt_tokens: must not be negative, but is -10",
    ),
    "fraction of a token": (
        f"{HEADER}0.1,10.5,5\n".encode(),
        ":2: prompt_tokens: must be a whole number of tokens, not 10.5",
    ),
    "huge length": (
        f"{HEADER}0.1,{10**30},5\n".encode(),
        ":2: prompt_tokens: is more than 10**9 tokens: 1000000",
    ),
    "missing cell": (f"{HEADER}0.1,10\n".encode(), ":2: row: has 2 columns where the header has 3"),
    "wrong encoding": (HEADER.encode("utf-16"), ":1: not UTF-8 text"),
    "truncated gzip": (
        gzip.compress(HEADER.encode() * 99, mtime=0)[:-20],
        ": damaged or truncated gzip data",
    ),
    "not gzip": (b"\x1f\x8bnonsense", ": damaged or truncated gzip data"),
    "all after the run": (
        f"{HEADER}99,10,5\n".encode(),
        ": no request falls in the run's 5 s; the first is at 99 s (set start_s)",
    ),
    "a folder": (b"/", ": cannot be read: Is a directory"),
}


@pytest.mark.parametrize("kind", TRACES)
def test_a_fault_in_a_trace(bros, tiny, tmp_path, kind):
    content, what = TRACES[kind]
    trace = tmp_path / "trace.csv"
    if content == b"/":
        trace.mkdir()
    elif content is not None:
        trace.write_bytes(content)
    replay = "{kind: replay, path: trace.csv}"
    tiny.write_text(NO_SWEEP.replace("{kind: poisson, rate_rps: 4}", replay))
    fault, *_ = rejected(bros, tmp_path, "run", tiny)
    assert fault.startswith(f"{tiny}:7:3: workload.chat: {trace}")
    assert what in fault


@pytest.mark.parametrize(
    ("scaling", "what"),
    [
        ("warp", ": no request falls in the run's 5 s; at rate_scale 0.0001 the first is at 720 s"),
        (
            "thin",
            ": no request falls in the run's 5 s; rate_scale 0.0001 keeps none of the trace's 1",
        ),
    ],
)
def test_a_rate_scale_that_leaves_nothing(bros, tiny, tmp_path, scaling, what):
    (tmp_path / "trace.csv").write_text(f"{HEADER}0.072,10,5\n")
    replay = f"{{kind: replay, path: trace.csv, rate_scale: 1e-4, scaling: {scaling}}}"
    tiny.write_text(NO_SWEEP.replace("{kind: poisson, rate_rps: 4}", replay))
    (fault,) = rejected(bros, tmp_path, "run", tiny)
    assert fault.endswith(what)


PROFILE = """\
id: mine
label: made up
gpu: {name: none, memory_gib: 1, bandwidth_gb_s: 1}
tp: 1
model: {name: none, layers: 1, hidden: 1, heads: 1, kv_heads: 1, head_dim: 1, intermediate: 1,
  vocab: 1, max_model_len: 4096, parameters: 1}
dtype: float16
kv: {num_gpu_blocks: 999, block_size: 16, basis: made up}
default_model: linear
models: {linear: {prefill_ms: 1}}
errors: {linear: {against: nothing}}
sources: [{name: none, licence: none, used_for: nothing}]
"""


@pytest.mark.parametrize("latency", ["", "latency: {kind: linear}\n"])
def test_a_profile_in_which_time_stands_still(bros, tiny, tmp_path, latency):
    (tmp_path / "mine.yaml").write_text(PROFILE)
    tiny.write_text(NO_SWEEP.replace("a100-80gb/llama-3-8b-tp1", "mine.yaml") + latency)
    (fault,) = rejected(bros, tmp_path, "run", tiny)
    where = "5:33: cluster.profile"
    assert fault.startswith(f"{tiny}:{where}: an iteration would take 0 s: one decode")


def test_all_faults_come_at_once(bros, tiny, tmp_path):
    text = EXPERIMENT.replace("duration_s: 5", "duration_s: -5").replace("kind: vllm}", "kind: x}")
    tiny.write_text(text.replace("tpot_s: 0.1", "tpot: 0.1").replace("tp1}", "tp9}"))
    faults = rejected(bros, tmp_path, "run", tiny)
    assert len(faults) == 4
    assert len({re.match(r".*?:(\d+):", fault).group(1) for fault in faults}) == 4


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "e.yaml: cannot be read: No such file or directory"),
        (b"", "e.yaml:1:1: the file is empty"),
        (b"- a\n", "e.yaml:1:1: must be a mapping of keys to values"),
        (b"name: caf\xe9\n", "e.yaml:1:10: byte 0xe9 is not UTF-8 text"),
        (b"name: \x00\n", "e.yaml:1:1: not YAML: special characters are not allowed"),
        (gzip.compress(b"name: x", mtime=0), "e.yaml:1:2: byte 0x8b is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_experiment(bros, tmp_path, content, line):
    path = tmp_path / "e.yaml"
    if content is not None:
        path.write_bytes(content)
    assert rejected(bros, tmp_path, "run", "e.yaml") == [line]


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("seed", "--set seed: write it as path=value, as in seed=3"),
        ("sed=3", "--set sed: unknown key (did you mean 'seed'?)"),
        ("seed=many", '--set seed: should be a valid integer (got "many")'),
        ("duration_s=-1", "--set duration_s: should be at least 0.000001 (got -1)"),
        ("clster.replicas=2", "--set clster: unknown key (did you mean 'cluster'?)"),
        ("cluster.ruoter.kind=random", "--set cluster.ruoter: unknown key (did you mean 'router'"),
        ("cluster.router.sort=random", "--set cluster.router: the key 'kind' is missing"),
        (
            "cluster.replicas.x.y=2",
            "--set cluster.replicas.x.y: names nothing: cluster.replicas holds no keys",
        ),
        (
            "workload.chat.arrivals.rate_rps=9",
            "--set workload.chat.arrivals.rate_rps: is swept by sweep.grid: set"
            " sweep.grid.workload.chat.arrivals.rate_rps instead",
        ),
        (
            "workload.chat.arrivals={kind: poisson, rate_rps: 9}",
            "--set workload.chat.arrivals.rate_rps: is swept by sweep.grid",
        ),
        ("duration_s=[", "--set duration_s: not YAML: expected the node content"),
        ("workload.chatt.slo.ttft_s=1", "--set workload.chatt.slo.ttft_s: names nothing:"),
        ("systems.FCFS.scheduler.policy=x", "--set systems.FCFS.scheduler.policy: should be"),
        ("cluster.profile=none", "--set cluster.profile: there is no profile 'none'"),
    ],
)
def test_a_bad_override(bros, tiny, tmp_path, assignment, line):
    (fault,) = rejected(bros, tmp_path, "run", tiny, "--set", assignment)
    assert fault.startswith(line)


def test_results_that_cannot_be_written(bros, tiny, tmp_path):
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tiny").write_text("a file")
    what = "results cannot be written here"
    cases = {"taken": "Not a directory", "results": "File exists", "/proc/none": "No such file"}
    for out, why in cases.items():
        (fault,) = rejected(bros, tmp_path, "run", tiny, "--out", out)
        assert fault.startswith(f"{out}/tiny: {what}: {why}") or "Not a directory" in fault


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], "Missing argument"),
        (["runn"], "Did you mean 'run'?"),
        (["run", "tiny.yaml", "--worker", "2"], "--workers"),
        (["run", "tiny.yaml", "--workers", "0"], "'--workers'"),
        (["run", "tiny.yaml", "--format", "xml"], "'xml' is not one of"),
        (["list", "schedulerz"], "'schedulerz' is not one of"),
        (["plot", "nowhere"], "nowhere/provenance.json: cannot be read: No such file"),
        (["init", "there"], "there/experiment.yaml: is already there; nothing was written"),
        (["init", "tiny.yaml"], "tiny.yaml: cannot be written"),
    ],
)
def test_a_command_that_is_wrong(bros, tiny, tmp_path, args, words):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "experiment.yaml").write_text("mine")
    assert words in " ".join(rejected(bros, tmp_path, *args))


def test_results_that_are_damaged(bros, tmp_path):
    for text, what in {
        "{}": "it has no 'experiment'",
        "[]": "its parts are not what a run writes",
        "{": "not JSON: Expecting property name",
    }.items():
        (tmp_path / "provenance.json").write_text(text)
        (fault,) = rejected(bros, tmp_path, "plot", ".")
        assert fault.startswith(f"provenance.json: is damaged: {what}")
