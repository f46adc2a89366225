"""Write a trace in the canonical format, and make traces from twins and generators."""

import csv
import gzip
import io
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bros_sim.core.atomic import written
from bros_sim.core.errors import InputError
from bros_sim.workload.streams import OpenLoop, Stream, build
from bros_sim.workload.traces import Trace

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def write_trace(trace: Trace, path: Path) -> None:
    """Write canonical CSV, gzipped CSV or Parquet, else `InputError`: same trace, same bytes."""
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: the name must end in {', '.join(SUFFIXES)}")
    if not trace.has_lengths:
        raise InputError(f"{trace.source}: has arrivals but no lengths; nothing to write")
    columns = _columns(trace)
    with written(path) as draft:
        if path.suffix == ".parquet":
            pq.write_table(pa.table(columns), draft)
        else:
            text = _csv(columns)
            draft.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _columns(trace: Trace) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    if trace.arrival_s is not None:
        columns["arrival_s"] = trace.arrival_s.tolist()
    columns["prompt_tokens"] = trace.prompt_tokens.tolist()
    columns["output_tokens"] = trace.output_tokens.tolist()
    if trace.service_class is not None:
        columns["class"] = [each and each.value for each in trace.service_class]
    for name in ("ttft", "tpot", "e2e"):
        if (values := getattr(trace, f"{name}_slo_s")) is not None:
            columns[f"slo_{name}_s"] = [
                None if isnan(value) else value for value in values.tolist()
            ]
    if trace.max_tokens is not None:
        columns["max_tokens"] = [value or None for value in trace.max_tokens.tolist()]
    if trace.prefix_hashes is not None:
        columns["prefix_hashes"] = [list(row) for row in trace.prefix_hashes]
        columns["hash_block_tokens"] = [trace.hash_block_tokens] * len(trace)
    return columns


def _csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    if hashes := columns.get("prefix_hashes"):
        columns = columns | {"prefix_hashes": [" ".join(map(str, row)) for row in hashes]}
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def synthesise(stream: Stream, seed: int, duration_s: float) -> Trace:
    """Requests of an open-loop stream, else `InputError`, as a trace without class, SLO and cap."""
    made = build(stream, seed, duration_s)
    if not isinstance(made, OpenLoop):
        raise InputError("arrivals: a closed loop has no arrival times of its own")
    if not (requests := made.requests):
        raise InputError(f"arrivals: no request falls in {duration_s:g} s")
    hashes = tuple(request.prefix_hashes for request in requests)
    return Trace(
        np.arange(len(requests)),
        np.array([request.arrival_s for request in requests]),
        np.array([request.prompt_tokens for request in requests], np.int64),
        np.array([request.output_tokens for request in requests], np.int64),
        prefix_hashes=hashes if any(hashes) else None,
        hash_block_tokens=requests[0].hash_block_tokens,
        notes={"synthesised": len(requests)},
    )
