"""Every importer on a file in its real format, and what it says of files that are at fault."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bros_sim.calibration.importers import FORMATS, Options, import_files
from bros_sim.calibration.importers.base import read_content
from bros_sim.calibration.models import read_model_config
from bros_sim.cli import app
from bros_sim.core.errors import InputError

DATA = Path(__file__).parents[1] / "data" / "imports"
STEPS = (
    "prefill_tokens,prefill_chunks,prefill_context_tokens,prefill_attention_pairs,"
    "decode_jobs,decode_kv_tokens,time_s,count"
)
REQUESTS = "request_id,arrival_s,prompt_tokens,output_tokens,first_token_s,last_token_s"


def read(*names, **options):
    return import_files([DATA / name for name in names], Options(**options))[1]


@pytest.fixture
def changed(tmp_path):
    """Import a sample after a change to its JSON value."""

    def read_changed(name, change, *others, **options):
        value = json.loads((DATA / name).read_text())
        change(value)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(value))
        return import_files([path, *(DATA / other for other in others)], Options(**options))[1]

    return read_changed


def faults_of(call, *args, **options):
    with pytest.raises(InputError) as error:
        call(*args, **options)
    return error.value.lines


class TestForward:
    def test_a_case_is_an_iteration(self):
        by_shape = {
            (row.prefill_tokens, row.prefill_chunks, row.decode_jobs): row
            for row in read("forward.json").rows
        }
        mixed = by_shape[1000, 1, 16]
        case = next(
            case
            for case in json.loads((DATA / "forward.json").read_text())
            if case["case"] == "mixed-1000-after-1024"
        )
        assert mixed.time_s == pytest.approx(case["median_us"] / 1e6)
        assert mixed.prefill_context_tokens == 1024
        assert mixed.prefill_attention_pairs == 1000 * (1024 + 500)
        assert mixed.decode_kv_tokens == 16 * 1024  # kv_len includes the new token
        assert mixed.count == 100
        assert by_shape[1024, 8, 0].prefill_chunks == 8

    def test_one_token_without_a_prefix_is_a_prefill(self, changed):
        def one_token(cases):
            cases[0]["requests"][0] |= {"query_len": 1, "kv_len": 1}

        row = changed("forward.json", one_token).rows[0]
        assert (row.prefill_tokens, row.decode_jobs) == (1, 0)

    def test_drafts_and_unstable_timings_are_named(self, changed):
        def change(cases):
            cases[0]["requests"][0] |= {"query_len": 4, "kv_len": 128, "num_draft_tokens": 3}
            cases[1]["ranks"][0]["latency_us"]["sample_spread_pct"] = 2.0

        steps = changed("forward.json", change)
        assert len(steps.rows) == len(read("forward.json").rows) - 1
        assert [note[:18] for note in steps.notes] == ["left out: 1 cases ", "1 cases are unstab"]

    def test_all_faults_at_once(self, changed):
        def change(cases):
            del cases[0]["requests"][0]["kv_len"]
            cases[1]["median_us"] = 0
            cases[2]["requests"][0]["kv_len"] = 0
            cases[3]["requests"][0]["query_len"] = 5000

        lines = [
            line.partition("changed.json: ")[2]
            for line in faults_of(changed, "forward.json", change)
        ]
        assert lines[0] == "0.requests.0.kv_len: this key is missing"
        assert lines[1].startswith("1.median_us: should be greater than 0")
        assert lines[2].startswith("2.requests.0.kv_len: should be at least 1")
        assert lines[3].startswith("3.requests.0.kv_len: 128 is less than query_len 5000")


class TestLatency:
    def test_the_difference_of_two_runs_is_decode_iterations(self):
        steps = read("latency-8x256-1.pytorch.json", "latency-8x256-17.pytorch.json")
        prefill, decode = steps.rows
        assert (prefill.prefill_tokens, prefill.prefill_chunks, prefill.count) == (2048, 8, 5)
        assert (decode.decode_jobs, decode.count) == (8, 16)
        # tokens 2 to 17 attend to 256 + 1 to 256 + 16 tokens
        assert decode.decode_kv_tokens == 8 * (256 + sum(range(1, 17)) / 16)
        short, long = (
            sorted(json.loads((DATA / f"latency-8x256-{n}.json").read_text())["latencies"])[2]
            for n in (1, 17)
        )
        assert decode.time_s == pytest.approx((long - short) / 16)

    def test_a_plain_file_with_its_batch_said(self):
        (row,) = read("latency-8x256-1.json", batch_size=8, input_len=256, output_lens=(1,)).rows
        assert row == read("latency-8x256-1.pytorch.json").rows[0]

    def test_plain_files_with_an_output_length_each(self):
        names = ("latency-8x256-17.json", "latency-8x256-1.json")
        steps = read(*names, batch_size=8, input_len=256, output_lens=(17, 1))
        records = read("latency-8x256-1.pytorch.json", "latency-8x256-17.pytorch.json")
        assert steps.rows == records.rows

    def test_the_old_file_has_other_keys(self, changed):
        def old(result):
            del result["model_id"]
            result["std_latency"] = 0.001

        sizes = {"batch_size": 8, "input_len": 256, "output_lens": (1,)}
        assert changed("latency-8x256-1.json", old, **sizes).rows

    def test_the_same_latencies_twice_count_once(self):
        both = read("latency-8x256-1.json", "latency-8x256-1.pytorch.json")
        assert both == read("latency-8x256-1.pytorch.json")

    @pytest.mark.parametrize(
        ("names", "options", "said"),
        [
            (["latency-8x256-1.json"], {}, "does not say the batch: give --batch-size"),
            (["latency-8x256-17.pytorch.json"], {}, "17 output tokens are many iterations"),
            (
                ["latency-8x256-1.json"],
                {"batch_size": 64, "input_len": 256, "output_lens": (1,)},
                "prefill of 16384 tokens is more than one iteration of 8192",
            ),
        ],
    )
    def test_what_no_iteration_can_be_told_from(self, names, options, said):
        (line,) = faults_of(read, *names, **options)
        assert said in line


class TestServe:
    def test_failed_requests_are_counted_and_have_no_row(self):
        (run,) = read("serve.json")
        assert (len(run.rows), run.failed) == (8, 2)
        result = json.loads((DATA / "serve.json").read_text())
        row = run.rows[1]
        assert row.request_id == "request-1"
        assert row.arrival_s == pytest.approx(result["start_times"][1] - result["start_times"][0])
        assert row.first_token_s - row.arrival_s == pytest.approx(result["ttfts"][1])
        # two tokens came in one chunk: the gaps still add up to the last token
        assert len(result["itls"][1]) < row.output_tokens - 1
        assert row.last_token_s - row.first_token_s == pytest.approx(sum(result["itls"][1]))

    def test_a_request_that_broke_off_failed(self, changed):
        def change(result):
            result["errors"][0] = "ServerDisconnectedError"

        (run,) = changed("serve.json", change)
        assert (len(run.rows), run.failed) == (7, 3)
        assert run.rows[0].arrival_s > 0  # the clock starts with the first that was sent

    def test_appended_results_are_runs_of_their_own(self):
        first, second = read("serve-appended.json")
        assert (len(first.rows), first.failed) == (4, 1)
        assert (len(second.rows), second.failed) == (6, 0)
        assert min(row.arrival_s for row in second.rows) == 0

    def test_an_old_file_of_one_burst(self):
        (run,) = read("serve-old.json")
        assert {row.arrival_s for row in run.rows} == {0.0}
        assert run.failed == 1
        assert "sent at once" in run.notes[0]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"input_lens": None}, "input_lens: should be a valid list"),
            ({"ttfts": [0.1]}, "ttfts: has 1 entries, input_lens has 10"),
            ({"start_times": None}, "start_times: not in the file, so the arrivals are not known"),
            ({"completed": "8"}, "completed: should be a valid integer"),
        ],
    )
    def test_faults(self, changed, change, said):
        (line,) = faults_of(changed, "serve.json", lambda result: result.update(change))
        assert said.replace("valid list", "list") in line.replace("valid list", "list")

    def test_without_details(self, changed):
        (line,) = faults_of(changed, "serve.json", lambda result: result.pop("input_lens"))
        assert "run with --save-detailed" in line

    def test_counts_that_differ_and_closed_loops_are_named(self, changed):
        change = {"completed": 9, "max_concurrency": 4}
        (run,) = changed("serve.json", lambda result: result.update(change))
        assert run.notes[0] == "the file counts 9 completed requests, its lists 8"
        assert run.notes[1].startswith("--max-concurrency 4: arrivals follow")


class TestGuideLLM:
    def test_every_benchmark_is_a_run(self):
        alone, poisson = read("guidellm.json")
        assert (alone.label, len(alone.rows), alone.failed) == ("synchronous", 3, 0)
        assert (poisson.label, len(poisson.rows), poisson.failed) == ("poisson rate 5.0", 4, 2)
        report = json.loads((DATA / "guidellm.json").read_text())
        request = report["benchmarks"][1]["requests"]["successful"][0]
        row = poisson.rows[0]
        assert row.arrival_s > 0  # a failed one was sent before it
        ttft_s = request["time_to_first_token_ms"] / 1e3
        assert row.first_token_s - row.arrival_s == pytest.approx(ttft_s, abs=1e-6)
        assert row.output_tokens == request["output_tokens"]

    def test_the_old_keys(self):
        (run,) = read("guidellm-old.json")
        assert (run.label, len(run.rows), run.failed) == ("constant rate 3.0", 3, 1)

    def test_the_keys_in_between(self, changed):
        """0.3 and 0.4: the timings under another name, with other names of the tokens' times."""

        def change(report):
            for request in report["benchmarks"][0]["requests"]["successful"]:
                timings = request.pop("info")["timings"]
                for old in ("first", "last"):
                    timings[f"{old}_iteration"] = timings.pop(f"{old}_token_iteration")
                request["scheduler_info"] = {"request_timings": timings}

        assert changed("guidellm.json", change)[0] == read("guidellm.json")[0]

    def test_a_sample_of_the_requests_is_named(self, changed):
        def change(report):
            del report["benchmarks"][0]["requests"]["successful"][0]

        assert "holds 2 of 3" in changed("guidellm.json", change)[0].notes[0]

    def test_faults(self, changed):
        def change(report):
            good = report["benchmarks"][1]["requests"]["successful"]
            good[0]["info"]["timings"]["first_token_iteration"] = None
            good[1]["prompt_tokens"] = None

        first, second = faults_of(changed, "guidellm.json", change)
        assert "benchmarks.1.requests.successful.0: a successful request without first" in first
        assert second.endswith(
            "benchmarks.1.requests.successful.1: a successful request without prompt_tokens"
        )


class TestAIPerf:
    def test_warm_up_and_failures_are_counted(self):
        (run,) = read("profile_export.jsonl")
        assert (len(run.rows), run.failed) == (4, 2)
        assert run.notes == ("left out: 1 warm-up requests",)
        record = json.loads((DATA / "profile_export.jsonl").read_text().splitlines()[1])
        row = run.rows[0]
        assert row.arrival_s == 0
        assert row.first_token_s == pytest.approx(
            record["metrics"]["time_to_first_token"]["value"] / 1e3
        )
        assert row.last_token_s == pytest.approx(
            record["metrics"]["request_latency"]["value"] / 1e3
        )

    def test_old_tags_and_other_units(self, tmp_path):
        text = (DATA / "profile_export.jsonl").read_text()
        names = {"time_to_first_token": "ttft", "input_sequence_length": "isl"}
        for new, old in {**names, "output_sequence_length": "osl"}.items():
            text = text.replace(new, old)
        lines = [json.loads(line) for line in text.splitlines()]
        for record in lines:
            for metric in record["metrics"].values():
                if metric["unit"] == "ms" and isinstance(metric["value"], float):
                    metric |= {"value": metric["value"] * 1e6, "unit": "ns"}
        path = tmp_path / "old.jsonl.gz"
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
        (old,) = import_files([path], Options())[1]
        (new,) = read("profile_export.jsonl")
        assert [row.request_id for row in old.rows] == [row.request_id for row in new.rows]
        for one, other in zip(old.rows, new.rows, strict=True):
            assert one[1:] == pytest.approx(other[1:])

    def test_faults_name_the_line(self, tmp_path):
        lines = (DATA / "profile_export.jsonl").read_text().splitlines()
        record = json.loads(lines[1])
        del record["metrics"]["time_to_first_token"]
        record["metrics"]["request_latency"]["unit"] = "fortnights"
        path = tmp_path / "bad.jsonl"
        path.write_text("\n".join([lines[0], json.dumps(record), '{"metadata": 3, "metrics": {}}']))
        faults = faults_of(import_files, [path], Options())
        assert f"{path}:3: metadata: " in faults[0]
        assert f"{path}:2: metrics.time_to_first_token: a completed request lacks it" in faults[1]
        assert "'fortnights' (known: s," in faults[2]
        path.write_text("\n".join([lines[0], "{broken"]))
        (line,) = faults_of(import_files, [path], Options())
        assert line.startswith(f"{path}:2:2: not JSON")


class TestLayers:
    NAMES = ("layers/attention.csv", "layers/dense.csv", "layers/per_sequence.csv")

    @pytest.fixture
    def model(self):
        return read_model_config(DATA / "llama-3.1-8b")

    def test_an_iteration_is_the_sum_of_its_layers(self, model):
        steps = read(*self.NAMES, model=model)
        row = next(
            row for row in steps.rows if (row.decode_jobs, row.decode_kv_tokens) == (8, 8 * 129)
        )
        block = 2 * (3 + 0.008 * 8)  # the layer norm twice
        for const, slope in ((30, 0.3), (3, 0.005), (21, 0.2), (140, 1.4), (3, 0.02), (70, 0.7)):
            block += const + slope * 8
        attention = 8 + 0.002 * 8 * 128
        once = 5 + 0.01 * 8 + 3 + 0.008 * 8 + 690 + 0.5 * 8 + 40 + 0.4 * 8
        assert row.time_s == pytest.approx((32 * (block + attention) + once) / 1e6, rel=1e-6)

    def test_rows_beyond_the_other_tables_are_left_out(self, model):
        steps = read(*self.NAMES, model=model)
        assert any("left out: 2 attention rows" in note for note in steps.notes)
        assert max(row.prefill_tokens + row.decode_jobs for row in steps.rows) <= 512

    def test_several_gpus_lack_their_all_reduce(self, model):
        notes = read(*self.NAMES, model=model, tp=2).notes
        assert any("all-reduces of each block are not in these files" in note for note in notes)

    def test_faults(self, model, tmp_path):
        assert "--model" in faults_of(read, *self.NAMES)[0]
        assert (
            "name the dense table" in faults_of(read, self.NAMES[0], self.NAMES[2], model=model)[0]
        )
        twice = faults_of(read, *self.NAMES, self.NAMES[0], model=model)
        assert "is a second attention table" in twice[0]
        dense = tmp_path / "dense.csv"
        good = (DATA / self.NAMES[1]).read_text()
        others = [DATA / self.NAMES[0], DATA / self.NAMES[2]]
        dense.write_text(good.replace("embedding,8,5.080", "embedding,8,fast"))
        (line,) = faults_of(import_files, [dense, *others], Options(model=model))
        assert line == f"{dense}:3: time_us: must be a number from 0, not 'fast'"
        dense.write_text(good.replace("o_proj", "moe"))
        assert (
            "'moe' is not known"
            in faults_of(import_files, [dense, *others], Options(model=model))[0]
        )
        dense.write_text(good + "embedding,9\n")
        (line,) = faults_of(import_files, [dense, *others], Options(model=model))
        assert "has 2 columns where the header has 3" in line


class TestFiles:
    def test_every_format_has_a_sample(self):
        found = set()
        for path in DATA.rglob("*"):
            if path.suffix in {".json", ".jsonl", ".csv"} and path.name != "config.json":
                content = read_content(path)
                found |= {name for name, form in FORMATS.items() if form.fits(content)}
        assert found == set(FORMATS)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "the file is empty"),
            ("[]", "has no known format (known: vllm bench forward,"),
            ('{"a": 1}', "has no known format"),
            ("a,b\n1,2\n", "has no known format"),
            ("x" * 200_000, "file:1: not a table: field larger"),
            ('{"request_latency": {}, "input_config": {}}', "import profile_export.jsonl"),
            (
                '{"elapsed_time": 1, "num_requests": 2, "tokens_per_second": 3}',
                "summary of vllm bench thr",
            ),
        ],
    )
    def test_files_that_hold_nothing(self, tmp_path, text, said):
        path = tmp_path / "file"
        path.write_text(text)
        (line,) = faults_of(import_files, [path], Options())
        assert said in line

    def test_two_formats_at_once(self):
        (line,) = faults_of(read, "serve.json", "forward.json")
        assert "several formats" in line

    def test_tokens_before_the_arrival(self, changed):
        def change(report):
            report["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"][
                "request_start"
            ] += 90

        (line,) = faults_of(changed, "guidellm.json", change)
        assert "tokens before it arrives" in line


def run(*arguments):
    return CliRunner().invoke(app, ["profile", "import", *map(str, arguments)])


def test_the_verb_writes_steps(tmp_path):
    out = tmp_path / "steps.csv"
    result = run(DATA / "forward.json", "--out", out)
    assert result.exit_code == 0, result.output
    assert "45 iterations (17 prefill, 18 decode, 10 mixed)" in result.stderr
    header, *rows = out.read_text().splitlines()
    assert header == STEPS
    assert len(rows) == 45
    first = out.read_bytes()
    run(DATA / "forward.json", "--out", out)
    assert out.read_bytes() == first


def test_the_verb_writes_one_run_by_arrival(tmp_path):
    out = tmp_path / "requests.csv.gz"
    result = run(DATA / "serve.json", "--out", out)
    assert "8 requests completed, 2 failed" in result.stderr
    header, *rows = gzip.decompress(out.read_bytes()).decode().splitlines()
    assert header == REQUESTS
    arrivals = [float(row["arrival_s"]) for row in csv.DictReader([header, *rows])]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] == 0


def test_the_verb_asks_which_run(tmp_path):
    out = tmp_path / "requests.csv"
    result = run(DATA / "serve-appended.json", "--out", out)
    assert result.exit_code == 2
    assert "--run: say which one of 2 runs:\n  1: 20261103-101800, rate 2.0, 4" in result.stderr
    assert run(DATA / "serve-appended.json", "--run", 2, "--out", out).exit_code == 0
    assert run(DATA / "serve-appended.json", "--run", 3, "--out", out).exit_code == 2
    assert run(DATA / "forward.json", "--run", 1, "--out", out).exit_code == 2


def test_the_verb_writes_nothing_of_a_bad_file(tmp_path):
    out = tmp_path / "steps.csv"
    assert run(tmp_path / "none.json", "--out", out).exit_code == 2
    assert run(DATA / "forward.json", "--out", tmp_path / "steps.txt").exit_code == 2
    assert list(tmp_path.iterdir()) == []
