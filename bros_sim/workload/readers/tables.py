"""BurstGPT, Vidur and splitwise-sim: CSV files whose columns are found by name."""

import numpy as np

from bros_sim.workload.readers.base import Rows, Window
from bros_sim.workload.readers.cells import seconds, tokens
from bros_sim.workload.readers.columns import read_csv
from bros_sim.workload.readers.source import Source


def read_burstgpt(source: Source, _: Window) -> Rows:
    """BurstGPT with 6 or 8 columns; whole seconds from an arbitrary midnight, so many ties.

    The clock is moved so that the earliest request arrives at 0. ``Response tokens`` = 0 marks
    a failed request, which the zero-token policy of ``read_trace`` counts.
    """
    table = read_csv(
        source, {"Timestamp": seconds(1), "Request tokens": tokens, "Response tokens": tokens}
    )
    clock = table["Timestamp"]
    return Rows(table.lines, clock - clock.min(), table["Request tokens"], table["Response tokens"])


def read_vidur(source: Source, _: Window) -> Rows:
    """Vidur's processed traces, with ``arrived_at`` or with lengths alone."""
    converts = {"num_prefill_tokens": tokens, "num_decode_tokens": tokens}
    timed = "arrived_at" in source.head.keys
    table = read_csv(source, converts | ({"arrived_at": seconds(1)} if timed else {}))
    return Rows(
        table.lines,
        np.asarray(table["arrived_at"]) if timed else None,
        table["num_prefill_tokens"],
        table["num_decode_tokens"],
    )


def read_splitwise(source: Source, _: Window) -> Rows:
    """splitwise-sim: ``arrival_timestamp`` in seconds, ``prompt_size``, ``token_size``."""
    table = read_csv(
        source, {"arrival_timestamp": seconds(1), "prompt_size": tokens, "token_size": tokens}
    )
    return Rows(table.lines, table["arrival_timestamp"], table["prompt_size"], table["token_size"])
