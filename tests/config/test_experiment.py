"""Points: their order, their keys, and what is shared between them."""

import pytest

from bros_sim.config import override, parse
from bros_sim.core.errors import InputError
from bros_sim.experiment import load
from bros_sim.experiment.build import estimate_of, facts, latency_parameters, profile_of, read_point
from bros_sim.latency.lines import HybridModel, RooflineModel
from tests.cli.conftest import EXPERIMENT

RATE = "workload.chat.arrivals.rate_rps"
TRACE = "arrival_s,prompt_tokens,output_tokens\n0.1,10,5\n"


def points(text=EXPERIMENT, folder=None, **changes):
    document = parse(text, str((folder or "/tmp") / "e.yaml") if folder else "e.yaml")
    for path, value in changes.items():
        document = override(document, f"{path.replace('__', '.')}={value}")
    return load(document).points


def keys(*args, **changes):
    return [point.key for point in points(*args, **changes)]


def test_points_are_systems_times_grid_times_seeds():
    found = points(sweep__seeds=2)
    assert [tuple(point.labels.values()) for point in found] == [
        (system, rate, seed)
        for system in ("FCFS", "Priority")
        for rate in (2, 4)
        for seed in (1, 2)
    ]
    assert list(found[0].labels) == ["system", RATE, "seed"]
    assert len(set(keys(sweep__seeds=2))) == 8


def test_the_last_grid_path_varies_fastest():
    grid = f"{{{RATE}: [2, 4], workload.chat.slo.ttft_s: [1, 2]}}"
    found = [tuple(point.labels.values())[1:3] for point in points(sweep__grid=grid)]
    assert found[:4] == [(2, 1), (2, 2), (4, 1), (4, 2)]


def test_defaults_written_out_make_the_same_point():
    written = EXPERIMENT.replace("{kind: vllm}", "{kind: vllm, policy: fcfs, max_num_seqs: 256}")
    assert keys(written) == keys()


def test_names_and_figures_are_no_part_of_a_point():
    assert keys(EXPERIMENT.replace("FCFS:", "Baseline:"), name="other", figures="[]") == keys()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"duration_s": 6},
        {"drain_s": 61},
        {"warmup_s": 1},
        {"cluster__replicas": 2},
        {"cluster__num_gpu_blocks": 600},
        {"cluster__max_model_len": 500},
        {"cluster__over_model_len": "cut"},
        {"engine__async_scheduling": "auto"},
        {"cluster__router": "{kind: random}"},
        {"cluster__profile": "h100-80gb/llama-3-8b-tp1"},
        {"latency": "{kind: roofline}"},
        {"workload__batch__arrivals__clients": 3},
        {"workload__chat__max_tokens": "{kind: exact}"},
    ],
    ids=str,
)
def test_whatever_changes_a_run_changes_all_keys(change):
    assert not set(keys(**change)) & set(keys())


def test_a_path_of_one_system_leaves_the_points_of_the_others_alone():
    grid = "{systems.FCFS.scheduler.max_num_seqs: [8, 16]}"
    found = keys(sweep__grid=grid)
    assert len(found) == 4
    assert len(set(found)) == 3
    assert found[2] == found[3]


def test_a_trace_counts_by_its_content_not_its_place(tmp_path):
    replay = EXPERIMENT[: EXPERIMENT.index("sweep:")].replace(
        "{kind: poisson, rate_rps: 4}", "{kind: replay, path: t.csv}"
    )
    for name, content in {"a": TRACE, "b": TRACE, "c": TRACE + "0.2,9,9\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(content)
    a, b, c = (keys(replay, tmp_path / name) for name in "abc")
    assert a == b
    assert not set(a) & set(c)


def test_a_grid_may_supply_what_the_file_leaves_out():
    text = EXPERIMENT.replace("{kind: poisson, rate_rps: 4}", "{kind: poisson}")
    assert keys(text) == keys()


def test_a_path_may_lead_through_sections_that_are_not_written():
    bare = "\n".join(line for line in EXPERIMENT.splitlines() if not line.startswith("cluster:"))
    grid = "{cluster.num_gpu_blocks: [550, 560], cluster.router.kind: [random]}"
    found = points(bare, sweep__grid=grid)
    assert [point.spec.system.kv.num_gpu_blocks for point in found[:2]] == [550, 560]
    assert type(found[0].spec.cluster.router).__name__ == "RandomParameters"
    (one, *_) = points(bare, cluster__router__kind="random", latency__kind="hybrid")
    assert type(one.spec.cluster.router).__name__ == "RandomParameters"
    assert one.spec.latency is not None
    unsized = EXPERIMENT.replace(", kv: {kind: paged}}\n  P", "}\n  P")
    assert "kv" not in unsized.partition("FCFS:")[2].partition("\n")[0]
    grid = "{systems.FCFS.kv.kind: [paged]}"
    assert points(unsized, sweep__grid=grid)[0].spec.system.kv.num_gpu_blocks > 2


def test_an_axis_may_be_added_to_a_grid():
    more = override(parse(EXPERIMENT, "e.yaml"), "sweep.grid.workload.chat.slo.ttft_s=[1, 2]")
    assert len(load(more).points) == 8
    other = override(parse(EXPERIMENT, "e.yaml"), f"sweep.grid.{RATE}=[7]")
    assert [point.labels[RATE] for point in load(other).points] == [7, 7]
    first = override(parse(EXPERIMENT, "e.yaml"), f"sweep.grid.{RATE}.0=9")
    assert [point.labels[RATE] for point in load(first).points] == [9, 4, 9, 4]


def test_a_fault_that_the_grid_hides_is_a_fault():
    with pytest.raises(InputError, match="rate_rps: should be at least 0"):
        points(EXPERIMENT.replace("rate_rps: 4}", "rate_rps: -4}"))


def test_a_resolved_point_is_the_same_point():
    for point in points(latency="{kind: hybrid}"):
        again = read_point(point.resolved)
        assert again.model_dump(mode="json", by_alias=True) == point.plain


def test_kv_size_comes_from_the_system_then_the_cluster_then_the_profile():
    text = EXPERIMENT.replace(
        "kv: {kind: paged}}\nsweep", "kv: {kind: paged, block_size: 32}}\nsweep"
    )
    fcfs, *_, priority = points(text)
    assert fcfs.spec.system.kv.num_gpu_blocks > 10_000
    assert (
        priority.spec.system.kv.num_gpu_blocks == 1 + (fcfs.spec.system.kv.num_gpu_blocks - 1) // 2
    )
    assert points(text, cluster__num_gpu_blocks=599)[0].spec.system.kv.num_gpu_blocks == 599
    own = points(text, cluster__num_gpu_blocks=599, systems__FCFS__kv__num_gpu_blocks=577)
    assert own[0].spec.system.kv.num_gpu_blocks == 577


@pytest.mark.parametrize("kind", ["bidirectional", "eager_checkpoint"])
def test_the_cpu_holds_what_the_profiles_host_has_room_for(kind):
    """OPT-13B: 819,200 bytes a token; the profile's 128 GiB, unless the YAML says how many."""
    text = EXPERIMENT.replace("kind: paged", f"kind: {kind}")
    opt = {"cluster__profile": "a100-40gb/opt-13b-tp2"}
    assert points(text, **opt)[0].spec.system.kv.cpu_blocks == 128 * 2**30 // (16 * 819_200)
    own = points(text, systems__FCFS__kv__cpu_blocks=5, **opt)
    assert own[0].spec.system.kv.cpu_blocks == 5


def test_a_scheduler_may_believe_in_a_latency_model_of_its_own():
    """Of the profile's, or written out; the truth stays what it is."""
    spec = points(systems__FCFS__estimate="{latency: {kind: roofline}}")[0].spec
    profile = profile_of(spec)
    truth = latency_parameters(spec.latency, profile).make()
    belief = estimate_of(spec, profile, truth)
    assert (type(truth), type(belief.model)) == (HybridModel, RooflineModel)


def test_a_belief_that_the_profile_lacks_is_a_fault_at_its_place():
    with pytest.raises(InputError, match=r"systems\.FCFS\.estimate\.latency\.kind: .*linear"):
        points(systems__FCFS__estimate="{latency: {kind: linear}}")


def test_a_system_may_have_a_router_of_its_own():
    changes = {"systems__Priority__router": "{kind: qlm_like}", "cluster__router": "{kind: random}"}
    theirs, mine = (found[0] for found in (points(**changes), points(**changes)[::-1]))
    assert theirs.plain["cluster"]["router"] == {"kind": "random"}
    assert mine.plain["cluster"]["router"]["kind"] == "qlm_like"
    assert "router" not in mine.plain["system"]


def test_a_router_of_a_system_is_refused_where_it_stands():
    with pytest.raises(InputError, match=r"systems\.FCFS\.router: rt_replicas 2 leaves none"):
        points(systems__FCFS__router="{kind: dedicated_pools, rt_replicas: 2}")


def test_a_result_says_what_router_and_scheduler_mirror():
    priority = points(systems__Priority__router="{kind: qlm_like}")[-1]
    assert facts(priority.spec)["mirrors"].startswith("QLM (arXiv 2407.00047")
    assert facts(priority.spec)["mirrors"].endswith(", over vLLM 0.33.0 V1 scheduler (priority)")
    assert facts(points()[0].spec)["mirrors"] == "vLLM 0.33.0 V1 scheduler (fcfs)"
