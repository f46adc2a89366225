"""Hashes that nobody shares are dropped before a run, and nothing in its results changes."""

import numpy as np
import pytest

from bros_sim.config import parse
from bros_sim.experiment import build, load
from bros_sim.study import runner
from bros_sim.study.store import Store
from bros_sim.workload.prompts import shareable
from tests.simulations import make_request

EXPERIMENT = """
name: mooncake
duration_s: 12
cluster: {{profile: a100-80gb/llama-3-8b-tp1, num_gpu_blocks: {blocks}, max_model_len: 1600}}
workload: {{chat: {{class: rt, arrivals: {{kind: replay, path: t.csv, {scaling}}}}}}}
systems:
  vLLM:
    scheduler: {{kind: vllm, version: '{version}'}}
    kv: {{kind: paged, version: '{version}', block_size: {block_size}}}
"""


def mooncake_like(path, seed, rows=150, hash_block=64):
    """Sessions that grow: half of the requests go on from an earlier one, the others are new."""
    rng = np.random.default_rng(seed)
    fresh, said, lines = iter(range(10**6)), [[]], []
    for at in np.sort(rng.uniform(0, 10, rows)):
        prompt = int(rng.integers(1, 1200))
        blocks = -(-prompt // hash_block)
        kept = (
            said[rng.integers(len(said))][: rng.integers(blocks + 1)] if rng.random() < 0.5 else []
        )
        said.append([*kept, *(next(fresh) for _ in range(blocks - len(kept)))])
        hashes = " ".join(map(str, said[-1]))
        lines.append(f"{at},{prompt},{rng.integers(1, 300)},{hashes},{hash_block}\n")
    head = "arrival_s,prompt_tokens,output_tokens,prefix_hashes,hash_block_tokens\n"
    path.write_text(head + "".join(lines))


def stored(folder, text):
    """The files of the one point of an experiment, and its requests."""
    (point,) = load(parse(text, str(folder.parent / "e.yaml"))).points
    store = Store(folder)
    assert not runner.execute(runner.Task.of(point, store)).error
    requests = store.read(point.labels, point.key).requests()
    return requests, {p.name: p.read_bytes() for p in (store.points / point.key).iterdir()}


@pytest.mark.parametrize(
    ("version", "block_size", "scaling"),
    [
        ("0.33.0", 16, "rate_scale: 1"),
        ("0.13.0", 16, "rate_scale: 1"),
        ("0.11.2", 48, "rate_scale: 1"),
        ("0.33.0", 7, "rate_scale: 1.5, scaling: thin"),
    ],
)
def test_results_are_the_same_bytes_with_and_without_the_cut(
    tmp_path, monkeypatch, version, block_size, scaling
):
    mooncake_like(tmp_path / "t.csv", 1)
    blocks = 1 + 3600 // block_size
    text = EXPERIMENT.format(version=version, block_size=block_size, blocks=blocks, scaling=scaling)
    cuts = []

    def noted(requests):
        cut = shareable(requests)
        cuts.append(
            sum(a.prefix_hashes != b.prefix_hashes for a, b in zip(requests, cut, strict=True))
        )
        return cut

    monkeypatch.setattr(build, "shareable", noted)
    requests, files = stored(tmp_path / "cut", text)
    monkeypatch.setattr(build, "shareable", list)
    _, whole = stored(tmp_path / "whole", text)
    assert files == whole
    assert cuts[0] > 25
    assert requests["num_preemptions"].sum() > 20
    assert (requests["cached_tokens"] > 0).sum() > 10


def test_what_is_cut():
    rows = [(1, 2, 3), (1, 2, 4, 5), (6,), (), (1, 7, 2)]
    cut = shareable([make_request(n, prefix=row) for n, row in enumerate(rows)])
    assert [request.prefix_hashes for request in cut] == [(1, 2), (1, 2), (), (), (1, 7, 2)]
