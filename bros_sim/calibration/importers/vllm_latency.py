"""``vllm bench latency``: the time of whole generations of a static batch.

Two files: ``--output-json`` (seconds; no batch size, no lengths; versions differ in ``model_id``
and ``std_latency``) and, with ``SAVE_TO_PYTORCH_BENCHMARK_FORMAT=1``, ``<name>.pytorch.json`` with
the arguments beside the same latencies. A generation is one prefill and ``output_len - 1`` decode
iterations, with the engine's and the client's work between them. Iterations follow in two cases:

- ``output_len`` 1 is one prefill iteration, if the batch fits into one.
- Two runs that differ in ``output_len`` alone differ by decode iterations alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

from pydantic import Field

from bros_sim.calibration.files import Count, Foreign, checked
from bros_sim.calibration.importers.base import Content, Options, Steps
from bros_sim.calibration.step_rows import StepRow, step_row
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape

Latencies = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class _Plain(Foreign):
    latencies: Latencies


class _Args(Foreign):
    batch_size: Count
    input_len: Count
    output_len: Count
    n: Count = 1
    max_num_batched_tokens: int | None = None


class _ExtraInfo(Foreign):
    args: _Args


class _Benchmark(Foreign):
    extra_info: _ExtraInfo


class _Metric(Foreign):
    name: str
    benchmark_values: Latencies


class _Record(Foreign):
    benchmark: _Benchmark
    metric: _Metric


class _Generation(NamedTuple):
    """The median time of generating ``output_len`` tokens for each of ``batch`` prompts."""

    batch: int
    input_len: int
    output_len: int
    budget: int
    latencies: tuple[float, ...]
    place: str

    @property
    def time_s(self) -> float:
        return median(self.latencies)


def is_any_latency(content: Content) -> bool:
    """The file of ``--output-json``, of any version, or that for PyTorch's benchmark database."""
    return content.has("avg_latency", "latencies", "percentiles") or _is_record(content)


def _is_record(content: Content) -> bool:
    return content.lists("benchmark", "metric", "model")


def read_latency(contents: Sequence[Content], options: Options) -> Steps:
    """The iterations that whole generations reveal; notes say what was left out and why."""
    full = [g for content in contents if _is_record(content) for g in _recorded(content)]
    known = {generation.latencies for generation in full}
    plain = [c for c in contents if not _is_record(c)]
    read = [(c.path, checked(_Plain, c.first, str(c.path)).latencies) for c in plain]
    full += _stated([(path, times) for path, times in read if tuple(times) not in known], options)
    found = list(_derive(sorted(full, key=lambda g: g[:3])))
    rows = [row for row in found if isinstance(row, StepRow)]
    notes = [note for note in found if isinstance(note, str)]
    if not rows:
        raise InputError(*notes)
    return Steps(tuple(rows), (*notes, "times are of a whole engine: CPU work is in them"))


def _recorded(content: Content) -> Iterator[_Generation]:
    for number, data in enumerate(content.first):
        record = checked(_Record, data, str(content.path), at=(number,))
        args = record.benchmark.extra_info.args
        if record.metric.name != "latency" or args.n != 1:
            what = f"{number}.metric.name: is no latency of one sequence per prompt"
            raise InputError(f"{content.path}: {what}")
        budget = args.max_num_batched_tokens or Options.max_num_batched_tokens
        lengths = args.batch_size, args.input_len, args.output_len, budget
        yield _Generation(*lengths, tuple(record.metric.benchmark_values), str(content.path))


def _stated(plain: Sequence[tuple[Path, list[float]]], options: Options) -> Iterator[_Generation]:
    batch, prompt, outputs = options.batch_size, options.input_len, options.output_lens
    for number, (path, latencies) in enumerate(plain):
        if batch is None or prompt is None or len(outputs) != len(plain):
            raise InputError(
                f"{path}: the file does not say the batch: give --batch-size, --input-len"
                " and for each such file, in order, --output-len; or its .pytorch.json"
                " (SAVE_TO_PYTORCH_BENCHMARK_FORMAT=1)"
            )
        lengths = batch, prompt, outputs[number], options.max_num_batched_tokens
        yield _Generation(*lengths, tuple(latencies), str(path))


def _derive(generations: Iterable[_Generation]) -> Iterator[StepRow | str]:
    for _, group in groupby(generations, key=lambda g: g[:2]):
        runs = list(group)
        if runs[0].output_len == 1:
            yield _prefill(runs[0])
        elif len(runs) == 1:
            yield (
                f"{runs[0].place}: {runs[0].output_len} output tokens are many iterations: add a"
                " run of the same batch with another --output-len"
            )
        for short, long in pairwise(runs):
            yield _decode(short, long)


def _prefill(run: _Generation) -> StepRow | str:
    tokens = run.batch * run.input_len
    if tokens > run.budget:
        what = f"prefill of {tokens} tokens is more than one iteration of {run.budget}"
        return f"{run.place}: left out: {what} (--max-num-batched-tokens)"
    shape = StepShape(((run.input_len, 0),) * run.batch, 0, 0)
    return step_row(shape, run.time_s, len(run.latencies))


def _decode(short: _Generation, long: _Generation) -> StepRow | str:
    """Token j of the output is made by an iteration that attends to ``input_len + j - 1`` tokens.

    So the iterations of tokens m + 1 to n attend to ``input_len + (m + n - 1) / 2`` on average.
    """
    steps = long.output_len - short.output_len
    time_s = (long.time_s - short.time_s) / steps if steps else 0.0
    if time_s <= 0:
        return f"{long.place}: left out: not slower than {short.place}"
    kv = long.input_len + (short.output_len + long.output_len - 1) / 2
    row = step_row(StepShape((), long.batch, 0), time_s, steps)
    return replace(row, decode_kv_tokens=long.batch * kv)
