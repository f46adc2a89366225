"""Which new requests can be promised their first token in time: SLOs-Serve's dynamic programme."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Candidate(NamedTuple):
    """A request that still has prompt tokens to compute."""

    due_s: float  # seconds from now until its first token is due
    tokens: int  # prompt tokens still to compute
    blocks: int  # KV blocks that it may come to hold
    promised: bool  # whether it was accepted before, and must stay so


class _State(NamedTuple):
    """The best way to have accepted so many: most prompt tokens to spare, then least memory."""

    surplus: float
    free_blocks: int
    chosen: tuple[int, ...] = ()


States = dict[int, _State]


def most_in_time(
    candidates: Sequence[Candidate],
    decodes: int,
    free_blocks: int,
    prompt_rate: Callable[[int], float],
    most_decodes: int,
) -> tuple[int, ...]:
    """Indices of as many new candidates as can be accepted, all of them and the promised in time.

    ``candidates`` come in order of ``due_s``. Between two instants at which one is due the engine
    computes ``prompt_rate(n)`` prompt tokens a second beside ``n`` decodes: the ``decodes`` now
    running and whoever was accepted and is due by then. The tokens computed by each instant must
    cover the prompts due by it, and no more than ``most_decodes`` may decode in the end. Of all
    ways to accept so many only the one with most tokens to spare can matter later, so there is one
    state for each count. Memory is asked of that one state: the choice may fall short of the
    optimum where memory, not time, is what binds.

    Where the promised cannot all be in time any more, nobody new is accepted before them.
    """
    states, previous_s = {0: _State(0.0, free_blocks)}, 0.0
    places = most_decodes - decodes - sum(candidate.promised for candidate in candidates)
    promised = decodes
    for index, candidate in enumerate(candidates):
        seconds, previous_s = candidate.due_s - previous_s, candidate.due_s
        states = {
            new: state._replace(surplus=state.surplus + seconds * prompt_rate(promised + new))
            for new, state in states.items()
        }
        if candidate.promised:
            states, promised = _keep(states, candidate), promised + 1
        else:
            states = _offer(states, index, candidate, places)
    return states[max(states)].chosen


def _keep(states: States, candidate: Candidate) -> States:
    """The promise binds: what breaks it is dropped, unless everything does."""
    kept = {new: state for new, state in states.items() if state.surplus >= candidate.tokens}
    kept = kept or {min(states): states[min(states)]}
    return {n: x._replace(surplus=x.surplus - candidate.tokens) for n, x in kept.items()}


def _offer(states: States, index: int, candidate: Candidate, places: int) -> States:
    """Accept or decline, in each state; of two ways to the same count the better one stays."""
    after = dict(states)
    for new, state in states.items():
        surplus = state.surplus - candidate.tokens
        free = state.free_blocks - candidate.blocks
        if surplus < 0 or free < 0 or new >= places:
            continue
        rival = after.get(new + 1)
        if rival is None or (surplus, free) > (rival.surplus, rival.free_blocks):
            after[new + 1] = _State(surplus, free, (*state.chosen, index))
    return after
