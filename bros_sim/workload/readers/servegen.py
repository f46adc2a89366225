"""ServeGen: batch jobs, and clients whose arrivals and lengths are drawn from their statistics.

``chunk-N-trace.csv`` has no header: ``window_start_s,rate,cv,pattern,shape,scale`` for each window,
pattern ``Gamma``, ``Weibull`` or empty. As in ServeGen itself the gaps of a window are renewal gaps
of that shape whose mean is ``1 / rate``; an empty pattern with a rate means exponential gaps.
``chunk-N-dataset.json`` maps window starts to ``{length: probability}`` dictionaries, written as
the text of Python dictionaries; prompt and output are published apart, so are drawn independently.
"""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bros_sim.workload.intensity import gamma_epochs, weibull_epochs
from bros_sim.workload.readers.base import Head, Policy, Rows, Source, split_csv
from bros_sim.workload.readers.cells import Faults, hash_lists, number, optional, seconds, tokens
from bros_sim.workload.readers.columns import Converts, build_table, read_records

PATTERNS = ("Gamma", "Weibull", "")
MAX_ROWS = 5_000_000
"""Most requests drawn from one file; choose a window of a busier client."""
ROWS_PER_WINDOW = 1000
"""Rows made from each window of a dataset that is read without its client's arrivals."""
JOB_BLOCK = 16
"""Tokens that a hash of a batch job stands for."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pdf = tuple[Ints, Floats]
"""Lengths, and their cumulative probabilities."""


def is_windows(head: Head) -> bool:
    """Whether a headerless file holds windows of a ServeGen client."""
    return len(head.first) == 6 and head.first[3].strip() in PATTERNS


def read_jobs(source: Source, _: Policy) -> Rows:
    """Batch jobs: no arrivals; outputs that are not stated are zero tokens, which are raised."""
    converts: Converts = {
        "input_length": tokens, "output_length": tokens, "hash_ids": hash_lists
    }  # fmt: skip
    keys = {"input_length", *source.head.keys}
    stated = {key: convert for key, convert in converts.items() if key in keys}
    table = read_records(source, source.records(), stated)
    known = "output_length" in keys
    return Rows(
        table.lines, None, table["input_length"],
        table["output_length"] if known else np.zeros(len(table.lines), np.int64),
        prefix_hashes=tuple(table["hash_ids"]) if "hash_ids" in keys else None,
        hash_block_tokens=JOB_BLOCK,
        notes={} if known else {"missing_output": len(table.lines)},
    )  # fmt: skip


def read_windows(source: Source, policy: Policy) -> Rows:
    """Requests drawn by window; lengths from the dataset beside it (``-dataset.json``), if any."""
    starts, rates, shapes, patterns = _windows(source)
    width = float(np.median(np.diff(starts))) if len(starts) > 1 else 600.0
    inside = (starts + width > policy.start_s) & (starts < policy.end_s) & (rates > 0)
    if (total := float(np.sum(rates[inside]) * width)) > MAX_ROWS:
        what = f"holds {total:.3g} requests, more than {MAX_ROWS:.0g}; set start_s and end_s"
        raise source.fault(1, what)
    rng = np.random.default_rng(policy.seed)
    draws = [np.zeros(0)]
    for n in np.flatnonzero(inside):
        epochs = weibull_epochs if patterns[n] == "Weibull" else gamma_epochs
        shape = shapes[n] if patterns[n] else 1.0
        draws.append(starts[n] + epochs(shape, rates[n] * width, rng) / rates[n])
    times, sizes = np.concatenate(draws), [len(draw) for draw in draws[1:]]
    lines = np.repeat(np.flatnonzero(inside) + 1, sizes).astype(np.int64)
    prompts, outputs = _beside(source.path, times, rng)
    return Rows(lines, times, prompts, outputs, notes={"synthesised": len(times)})


def _windows(source: Source) -> tuple[Floats, Floats, Floats, list[str]]:
    faults, patterns, rows = Faults(source), [], []
    for line, text in source.lines():
        fields = [field.strip() for field in split_csv(text)]
        if len(fields) != 6 or fields[3] not in PATTERNS:
            faults.add(line, "row", "must be window_start_s,rate,cv,Gamma|Weibull|nothing,p1,p2")
            continue
        patterns.append(fields[3])
        rows.append((line, [fields[0], fields[1], fields[4]]))
    converts = {"window_start_s": seconds(1), "rate": number, "shape": optional(number, 0.0)}
    table = build_table(source, iter(rows), converts, faults)
    starts, rates, shapes = table["window_start_s"], table["rate"], table["shape"]
    for n in np.flatnonzero(np.diff(starts, prepend=-1.0) <= 0).tolist():
        faults.add(int(table.lines[n]), "window_start_s", "must rise from line to line")
    for n, pattern in enumerate(patterns):
        if pattern and rates[n] > 0 and not 1e-3 <= shapes[n] <= 1e6:
            faults.add(int(table.lines[n]), "shape", f"must lie in 0.001..1e6, is {shapes[n]:g}")
    faults.check()
    return starts, rates, shapes, patterns


def _beside(path: Path, times: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
    name = path.name.replace("trace", "dataset").replace(".csv", ".json")
    dataset = path.with_name(name)
    prompts, outputs = np.zeros((2, len(times)), np.int64)
    if name == path.name or not dataset.is_file():
        return prompts[:0], outputs[:0]
    pdfs = _pdfs(Source(dataset))
    windows = np.maximum(np.searchsorted(list(pdfs), times, side="right") - 1, 0)
    for n, (prompt, output) in enumerate(pdfs.values()):
        mine = windows == n
        prompts[mine] = _draw(prompt, int(mine.sum()), rng)
        outputs[mine] = _draw(output, int(mine.sum()), rng)
    return prompts, outputs


def read_lengths(source: Source, policy: Policy) -> Rows:
    """Pairs drawn from a dataset alone: 1,000 for each window that states lengths."""
    rng = np.random.default_rng(policy.seed)
    prompts, outputs = (
        np.concatenate([_draw(pdf, ROWS_PER_WINDOW, rng) for pdf in pdfs])
        for pdfs in zip(*_pdfs(source).values(), strict=True)
    )
    lines = np.ones(len(prompts), np.int64)
    return Rows(lines, None, prompts, outputs, notes={"synthesised": len(prompts)})


def _pdfs(source: Source) -> dict[float, tuple[Pdf, Pdf]]:
    """Window start -> prompt and output distribution, for the windows that state both."""
    try:
        windows = json.loads(source.text())
        items = [(float(start), record) for start, record in windows.items()]
    except (ValueError, RecursionError, AttributeError) as error:
        raise source.fault(1, f"not a JSON object of windows: {error}") from None
    pdfs = {}
    for start, record in sorted(items, key=lambda item: item[0]):
        prompt = _pdf(source, start, record, "input_tokens")
        output = _pdf(source, start, record, "output_tokens")
        if prompt and output:
            pdfs[start] = (prompt, output)
    if not pdfs:
        raise source.fault(1, "no window states both input_tokens and output_tokens")
    return pdfs


def _pdf(source: Source, start: float, record: Any, key: str) -> Pdf | None:  # noqa: ANN401
    where = f"window {start:g}: {key}"
    try:
        pdf = ast.literal_eval(record[key])
        lengths = np.array(list(pdf), np.float64)
        shares = np.array(list(pdf.values()), np.float64)
    except KeyError:
        raise source.fault(1, f"{where}: the key is missing") from None
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        raise source.fault(1, f"{where}: must be the text of {{length: probability}}") from None
    if not len(pdf):
        return None
    sane = np.isfinite(lengths).all() and np.isfinite(shares).all()
    if not sane or lengths.min() < 0 or lengths.max() > 1e9 or shares.min() < 0 or not shares.sum():
        raise source.fault(1, f"{where}: lengths must be 0..10**9, probabilities >= 0, sum > 0")
    return lengths.astype(np.int64), np.cumsum(shares / shares.sum())


def _draw(pdf: Pdf, count: int, rng: np.random.Generator) -> Ints:
    lengths, cumulative = pdf
    index = np.searchsorted(cumulative, rng.random(count), side="right")
    return lengths[np.minimum(index, len(lengths) - 1)]
