"""Small runs written by hand or drawn by hypothesis, as the log would hold them."""

import itertools
from collections.abc import Collection, Mapping

import hypothesis.strategies as st
import numpy as np
import pandas as pd

from bros_sim.core.columns import EXCEPTIONS, REQUESTS, SPANS, STEPS, logged, names
from bros_sim.engine.record import EVERYONE
from bros_sim.metrics.tables import RunTables

NAN = float("nan")


def iterations_of(
    first: int, tokens: int, stalled: Collection[int], own: Mapping[int, int]
) -> list[int]:
    """The iterations in which a span's tokens came; ``own`` has tokens by iteration."""
    counts = ((i, own.get(i, int(i == first or i not in stalled))) for i in itertools.count(first))
    return list(itertools.islice((i for i, count in counts for _ in range(count)), tokens))


def build(
    requests: list[dict],
    ends: list[list[float]],
    *,
    duration_s: float,
    steps: list[dict] = (),
    stalled: list[list[int]] = (),
) -> RunTables:
    """A run from requests that name their ``rows`` = [(engine, first iteration, tokens), ...].

    ``own`` of a request is {(engine, iteration): tokens}, where these are not one.
    """
    stalls = stalled or [[] for _ in ends]
    log, spans = [], []
    exceptions = [(EVERYONE, n, i, 0) for n, numbers in enumerate(stalled) for i in numbers]
    for number, given in enumerate(requests):
        rows = given.get("rows", [])
        own = given.get("own", {})
        at = [{i: n for (r, i), n in own.items() if r == row[0]} for row in rows]
        times = [
            ends[r][i]
            for (r, *row), mine in zip(rows, at, strict=True)
            for i in iterations_of(*row, stalls[r], mine)
        ]
        spans += [(number, *row, "finished") for row in rows]
        exceptions += [(number, *where, count) for where, count in own.items()]
        log.append(
            {
                "request_id": f"s-{number}", "stream": "s", "class": "rt", "arrival_s": 0.0,
                "prompt_tokens": 10, "output_tokens": max(len(times), 1), "max_tokens": 99,
                "ttft_slo_s": NAN, "tpot_slo_s": NAN, "e2e_slo_s": NAN, "replica": 0,
                "status": "completed", "first_scheduled_s": NAN,
                "first_token_s": times[0] if times else NAN,
                "last_token_s": times[-1] if times else NAN, "generated_tokens": len(times),
                "cached_tokens": 0, "num_preemptions": 0, "recomputed_tokens": 0,
                "swapped_blocks": 0, "checkpointed_slots": 0,
            }
            | {key: value for key, value in given.items() if key not in ("rows", "own")}
        )  # fmt: skip
    spans.sort(key=lambda row: -row[0])  # the log is not in order of request
    return RunTables(
        requests=pd.DataFrame(log, columns=list(names(logged(REQUESTS)))),
        steps=pd.DataFrame(list(steps) or _plain_steps(ends), columns=list(names(STEPS))),
        spans=pd.DataFrame(spans, columns=list(names(SPANS))),
        exceptions=pd.DataFrame(exceptions, columns=list(names(EXCEPTIONS))),
        engines=engines(len(ends)),
        iteration_end_s=tuple(np.array(times, dtype=np.float64) for times in ends),
        duration_s=duration_s,
    )


def engines(count: int, **given: float) -> pd.DataFrame:
    """The engines table of equal engines."""
    row = {"pool": "", "profile": "", "block_size": 16, "kv_blocks": 10, "up_s": 0.0, "down_s": NAN}
    return pd.DataFrame({"engine": range(count), **row, **given}, index=range(count))


def step(start_s: float, end_s: float, **given: float) -> dict:
    """One row of the steps table, all zero but for what is given."""
    return dict.fromkeys(names(STEPS), 0) | {
        "start_s": start_s, "end_s": end_s, "repeat": 1, "free_blocks": 10, **given
    }  # fmt: skip


def _plain_steps(ends: list[list[float]]) -> list[dict]:
    return [
        step(before, end, replica=replica)
        for replica, times in enumerate(ends)
        for before, end in zip([0.0, *times], times, strict=False)
    ]


def _on_grid(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n / 8)


@st.composite
def _rows(
    draw: st.DrawFn, iterations: list[int], stalled: list[list[int]]
) -> tuple[list[tuple[int, int, int]], dict[tuple[int, int], int]]:
    """Spans on one engine, and the iterations of theirs with 0, 2 or 3 tokens."""
    engine = draw(st.integers(0, len(iterations) - 1))
    cuts = draw(st.lists(st.integers(0, iterations[engine]), max_size=6, unique=True).map(sorted))
    stalls = stalled[engine] if stalled else []
    rows, own = [], {}
    for a, b in zip(cuts[::2], cuts[1::2], strict=False):
        counts = {i: int(i == a or i not in stalls) for i in range(a, b)}
        for i in draw(st.sets(st.integers(a, b - 1), max_size=4)):
            counts[i] = draw(st.sampled_from([1, 2, 3] if i == a else [0, 1, 2, 3]))
            own[engine, i] = counts[i]
        rows.append((engine, a, sum(counts.values())))
    return rows, own


@st.composite
def _request(
    draw: st.DrawFn, iterations: list[int], ends: list[list[float]], stalled: list[list[int]]
) -> dict:
    rows, own = draw(_rows(iterations, stalled))
    first = ends[rows[0][0]][rows[0][1]] if rows else 4.0
    arrival = min(draw(_on_grid(0, 40)), first)
    generated = sum(n for _, _, n in rows)
    status = draw(st.sampled_from(["completed", "unfinished"])) if rows else "rejected"
    slo = st.one_of(st.just(NAN), _on_grid(1, 16))
    return {
        "rows": rows,
        "own": own,
        "class": draw(st.sampled_from(["rt", "be"])),
        "arrival_s": arrival,
        "status": status,
        "output_tokens": generated if status == "completed" else generated + 1,
        "first_scheduled_s": (arrival + first) / 2 if rows else NAN,
        "ttft_slo_s": draw(slo),
        "tpot_slo_s": draw(slo),
        "e2e_slo_s": draw(st.one_of(st.just(NAN), _on_grid(1, 40))),
        "num_preemptions": max(len(rows) - 1, 0),
        "recomputed_tokens": draw(st.integers(0, 9)),
        "cached_tokens": draw(st.integers(0, 9)),
        "swapped_blocks": draw(st.integers(0, 9)),
        "checkpointed_slots": draw(st.integers(0, 9)),
    }


@st.composite
def runs(draw: st.DrawFn) -> RunTables:
    """Up to eight requests on up to two engines, with all that may happen to their tokens."""
    gaps = st.lists(_on_grid(1, 12), min_size=1, max_size=12)
    ends = [list(np.cumsum(draw(gaps))) for _ in range(draw(st.integers(1, 2)))]
    iterations = [len(times) for times in ends]
    stalled = []
    if draw(st.booleans()):
        stalled = [sorted(draw(st.sets(st.integers(0, n - 1)))) for n in iterations]
    requests = draw(st.lists(_request(iterations, ends, stalled), max_size=8))
    requests.sort(key=lambda request: request["arrival_s"])
    return build(requests, ends, duration_s=draw(_on_grid(1, 60)), stalled=stalled)
