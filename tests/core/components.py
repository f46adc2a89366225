"""Hypothesis strategies that draw any scheduler and KV manager of the tables with small limits.

A new entry of a table is covered by the laws without a new line here: fields of type bool and
Literal are drawn freely, numbers keep their defaults unless a small range is given by name.
"""

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from bros_sim.core.request import Request, ServiceClass, Slo

SMALL: dict[str, st.SearchStrategy[Any]] = {
    "num_gpu_blocks": st.integers(12, 60),
    "block_size": st.sampled_from([1, 2, 4, 16]),
    "extra_blocks": st.sampled_from([0, 5, 20]),
    "cpu_blocks": st.sampled_from([0, 6, 200]),
    "max_num_batched_tokens": st.sampled_from([8, 24, 64, 120, 400]),
    "max_batch_prefill_tokens": st.sampled_from([8, 24, 64, 120, 400]),
    "max_batch_size": st.sampled_from([None, 1, 3]),
    "max_concurrent_requests": st.sampled_from([4, 128]),
    "max_total_tokens": st.sampled_from([None, 80]),
    "max_waiting_tokens": st.sampled_from([0, 3, 20]),
    "waiting_served_ratio": st.sampled_from([0.3, 1.2]),
    "chunk_size": st.sampled_from([8, 24, 64]),
    "reserved_seats": st.sampled_from([0.0, 0.3]),
    "reserved_blocks": st.sampled_from([0.0, 0.3]),
    "max_num_seqs": st.integers(1, 8),
    "batch_cap": st.integers(1, 8),
    "base_quantum_s": st.sampled_from([0.005, 0.02]),
    "period": st.sampled_from([1, 5, 50]),
    "starvation_s": st.sampled_from([0.05, 3.0]),
    "long_prefill_token_threshold": st.sampled_from([0, 0, 5, 20]),
    "latency_budget_s": st.sampled_from([None, 0.015, 0.03]),
    "fairness": st.sampled_from([0.0, 0.3, 1.0]),
    "offline_ttft_share": st.sampled_from([0.05, 0.5]),
    "alpha_s": st.sampled_from([0.0, 0.008]),
    "batch_tpot_s": st.sampled_from([0.01, 0.4]),
    "watermark": st.sampled_from([0.0, 0.05]),
}


def any_component(cls: type) -> st.SearchStrategy[Any]:
    """Any instance of a component class."""
    hints = get_type_hints(cls, include_extras=True)
    fields = [f for f in dataclasses.fields(cls) if f.init]
    values = {f.name: _values(f.name, hints[f.name]) for f in fields}
    drawn = {name: value for name, value in values.items() if value is not None}
    return st.fixed_dictionaries(drawn).map(lambda kwargs: cls(**kwargs))


def _values(name: str, hint: Any) -> st.SearchStrategy[Any] | None:
    if name in SMALL:
        return SMALL[name]
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if hint is bool:
        return st.booleans()
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    return None


@st.composite
def any_requests(draw: st.DrawFn) -> list[Request]:
    """A few requests of both classes, some of them with common prefixes, in order of arrival."""
    count = draw(st.integers(1, 14))
    times = sorted(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))
    return [_request(draw, i, times[i] / 8) for i in range(count)]


def _request(draw: st.DrawFn, index: int, arrival_s: float) -> Request:
    prompt, output = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    group, shared = draw(st.integers(0, 1)), draw(st.integers(0, 12))
    system_prompt = draw(st.sampled_from([0, 8, 24]))
    return Request(
        stream="test",
        index=index,
        service_class=draw(st.sampled_from(ServiceClass)),
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output,
        max_tokens=2 * output,
        slo=draw(st.sampled_from([Slo(0.4, 0.2), Slo(0.1, 0.02), Slo(e2e_s=1.0), Slo()])),
        prefix_hashes=tuple(100 * group + i for i in range(shared)),
        hash_block_tokens=4,
        system_prompt_tokens=min(system_prompt, 4 * shared, prompt),
    )
