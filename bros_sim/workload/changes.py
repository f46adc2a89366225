"""What was changed in making a stream's requests, so that nothing is cut silently."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from bros_sim.workload.streams import BLOCK, ClosedLoop, OpenLoop, Stream
from bros_sim.workload.traces import ReadCounts, Trace

WORDS = {
    "out_of_order": "rows sorted by time",
    "outside_window": "rows outside [start_s, end_s) left out",
    "zero_prompt": "rows with a prompt of zero tokens",
    "zero_output": "rows with an output of zero tokens",
    "dropped": "rows of zero tokens dropped (the others are raised to one)",
    "filtered": "rows filtered out",
    "clipped_prompt": "prompts cut to max_prompt",
    "clipped_output": "outputs cut to max_output",
    "missing_output": "rows without an output length",
    "chained": "sub-requests placed at the earliest time",
    "synthesised": "rows drawn from published statistics",
    "long_hash_lists": "lists of prefix hashes cut to the length of the prompt",
}
"""Field of ``ReadCounts`` -> what was done; the fields not named here change nothing."""
LONG_GAPS, LONG_SHARE = 5, 0.01
"""A silence longer than this many mean gaps and this share of the run is not chance."""


@dataclass(frozen=True)
class Changes:
    """``outputs_cut`` of ``outputs`` (the first ``BLOCK`` of a closed loop) were over their cap.

    ``cut_to_model_len``: those among them that the model length cut, not ``max_tokens``.
    ``silent_from_s`` is the end of a replayed trace that is shorter than the run's ``duration_s``.
    """

    outputs: int
    outputs_cut: int
    traces: Mapping[str, ReadCounts]
    duration_s: float
    silent_from_s: float | None = None
    cut_to_model_len: int = 0

    def lines(self) -> Iterator[str]:
        if self.silent_from_s is not None:
            end = f"the trace ends at {self.silent_from_s:.6g} s"
            yield f"{end}, duration_s is {self.duration_s:g}: *_steady rates count the silence"
        to_cap = self.outputs_cut - self.cut_to_model_len
        for cut, limit in (to_cap, "max_tokens"), (self.cut_to_model_len, "the model length"):
            if cut:
                yield f"{cut:,} of {self.outputs:,} outputs cut to {limit}"
        for path, counts in self.traces.items():
            found = asdict(counts)
            done = [f"{found[name]:,} {words}" for name, words in WORDS.items() if found[name]]
            if done:
                yield f"{path} ({counts.rows_read:,} rows): {', '.join(done)}"


def changes(stream: Stream, made: OpenLoop | ClosedLoop, duration_s: float) -> Changes:
    """What was changed in the requests that ``build`` made of a stream."""
    read = [getattr(part, "content", None) for part in (stream.arrivals, stream.lengths)]
    traces = {part.source: part.counts for part in read if isinstance(part, Trace)}
    count = len(made.requests) if isinstance(made, OpenLoop) else BLOCK
    silent_from_s = _silent_from(stream, count, duration_s)
    to_model_len = made.cut.to_model_len
    return Changes(count, sum(made.cut), traces, duration_s, silent_from_s, to_model_len)


def _silent_from(stream: Stream, count: int, duration_s: float) -> float | None:
    """The end of a trace after which the run is silent for long: for more than chance explains."""
    last: float | None = getattr(stream.arrivals, "last_s", None)
    if last is None:
        return None
    chance = max(LONG_GAPS * last / count, LONG_SHARE * duration_s)
    return last if duration_s - last > chance else None
