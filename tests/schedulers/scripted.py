"""Small scripted workloads for schedulers; every iteration takes 1 s unless a latency is given."""

from dataclasses import replace

from simulations import make_replica, make_request, run

from bros_sim.core.request import ServiceClass, Slo
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.metrics.tokens import token_rows

RT, BE = ServiceClass.RT, ServiceClass.BE

__all__ = ["BE", "RT", "Slo", "ask", "column", "firsts", "iterations", "play", "tokens"]


def ask(prompt=10, output=3, at=0.0, *, cls=RT, slo=None, max_tokens=None, prefix=()):
    """A request; its place in the list is its number."""
    made = make_request(
        arrival_s=at, prompt=prompt, output=output, service_class=cls, slo=slo, prefix=prefix
    )
    return made if max_tokens is None else replace(made, max_tokens=max_tokens)


def play(scheduler, *requests, blocks=1000, size=16, kv=None, **parts):
    """The run of a scheduler on requests, with that many usable blocks."""
    numbered = [replace(request, index=i) for i, request in enumerate(requests)]
    kv = kv or PagedKV(PagedParameters(num_gpu_blocks=blocks + 1, block_size=size))
    return run(numbered, make_replica(scheduler=scheduler, kv=kv, **parts))


def iterations(table):
    """Prefill tokens and decodes, iteration by iteration."""
    rows = table.steps[["prefill_tokens", "decode_jobs", "repeat"]].to_numpy().tolist()
    return [(prefill, decodes) for prefill, decodes, repeat in rows for _ in range(repeat)]


def tokens(table):
    """When the tokens of each request came."""
    rows = token_rows(table)
    times = [[] for _ in range(len(table.requests))]
    for request, first, count in zip(rows.request, rows.first, rows.tokens, strict=True):
        times[request] += rows.end_s[first : first + count].tolist()
    return times


def firsts(table):
    """When the first token of each request came."""
    return column(table, "first_token_s")


def column(table, name):
    return table.requests[name].tolist()
