"""Measure a GPU with PyTorch alone: iterations of a model shape, and copies to and from the CPU."""

import os
import timeit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from bros_sim.calibration.measure_model import RandomModel
from bros_sim.calibration.models import ModelConfig
from bros_sim.calibration.plan import Case
from bros_sim.calibration.profiles import BLOCK_SIZE
from bros_sim.calibration.step_rows import StepRow, step_row
from bros_sim.core.errors import InputError

WARM_UP = 3
MEMORY_SHARE = 0.85  # of the free memory, for weights and KV cache; the rest is for activations
COPY_BYTES = tuple(4**power for power in range(8, 15))  # 64 KiB to 256 MiB
Progress = Callable[[int, int], None]
Action = Callable[[], object]


@dataclass(frozen=True)
class Device:
    """Where to measure: ``cuda``, which is the first visible card, or ``cpu``."""

    name: str

    @classmethod
    def named(cls, name: str) -> "Device":
        """The device, or the best one for ``auto``; `InputError` if torch cannot use it."""
        there = torch.cuda.is_available()
        if name == "cuda" and not there:
            raise InputError("--device cuda: torch finds no CUDA device")
        return cls("cuda" if there and name != "cpu" else "cpu")

    @property
    def is_gpu(self) -> bool:
        """Whether there is a link to measure."""
        return self.name == "cuda"

    @property
    def free_bytes(self) -> int:
        """Memory that is free now."""
        if self.is_gpu:
            return int(torch.cuda.mem_get_info()[0])
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")

    @property
    def title(self) -> str:
        """What a reader calls it."""
        return str(torch.cuda.get_device_name()) if self.is_gpu else "the CPU"


class CopyRow(NamedTuple):
    """A copy between GPU and CPU memory: the median of ``count`` timings."""

    direction: str
    bytes: int
    time_s: float
    gb_s: float
    timings: int


class Link(NamedTuple):
    """What copies cost: ``latency_s + bytes / (1e9 * gb_s)``."""

    gb_s: float
    latency_s: float


def fitting(cases: Sequence[Case], config: ModelConfig, tp: int, device: Device) -> list[Case]:
    """The batches within memory (beside one rank's weights) and length; `InputError` if none is."""
    free = MEMORY_SHARE * device.free_bytes - config.weight_bytes / tp
    room = int(free // (BLOCK_SIZE * config.kv_bytes_per_token(tp) / tp))
    limit = config.shape.max_model_len
    kept = [case for case in cases if case.blocks <= room and case.longest <= limit]
    if not kept:
        raise InputError(
            f"--device {device.name}: no batch fits: {config.shape.name} has"
            f" {config.weight_bytes / tp / 2**30:.1f} GiB of weights a GPU,"
            f" {device.free_bytes / 2**30:.1f} GiB are free"
        )
    return kept


def measure_steps(
    cases: Sequence[Case],
    config: ModelConfig,
    tp: int,
    device: Device,
    repeats: int,
    progress: Progress,
) -> Iterator[StepRow]:
    """The median device time of one iteration of each batch, on one rank, without all-reduce."""
    with torch.inference_mode():
        model = RandomModel(config, tp, max(case.blocks for case in cases), device.name)
        for number, case in enumerate(cases, 1):
            try:
                action = replayable(partial(model.step, model.prepare(case)), device.name)
                times = timings_s(action, device.name, WARM_UP, repeats)
            except torch.cuda.OutOfMemoryError:
                raise InputError(f"--device {device.name}: out of memory at {case.name}") from None
            progress(number, len(cases))
            yield step_row(case.shape, median(times), repeats)


def measure_copies(
    device: Device, repeats: int, sizes: Sequence[int] = COPY_BYTES
) -> list[CopyRow]:
    """Copies of pinned CPU memory to the device and back; a CPU copies to itself, for tests."""
    rows = []
    for size in sizes:
        host = torch.empty(size, dtype=torch.uint8, pin_memory=device.is_gpu)
        card = torch.empty(size, dtype=torch.uint8, device=device.name)
        for direction, source, target in (("to_gpu", host, card), ("to_cpu", card, host)):
            copy = partial(target.copy_, source, non_blocking=True)
            times = timings_s(copy, device.name, WARM_UP, repeats)
            time_s = median(times)
            rows.append(CopyRow(direction, size, time_s, size / time_s / 1e9, repeats))
    return rows


def link(rows: Sequence[CopyRow], direction: str) -> Link:
    """Bandwidth and fixed cost of one direction: non-negative least squares on relative error."""
    taken = [row for row in rows if row.direction == direction]
    time_s = np.array([row.time_s for row in taken])
    terms = np.array([(1.0, row.bytes) for row in taken]) / time_s[:, None]
    (latency_s, per_byte), _ = nnls(terms, np.ones(len(taken)))
    return Link(1e-9 / float(per_byte), float(latency_s))


def timings_s(action: Action, device: str, warm_up: int, repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` runs of ``action``, after ``warm_up`` that do not count."""
    for _ in range(warm_up):
        action()
    if device != "cuda":
        return timeit.repeat(action, number=1, repeat=repeats)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    torch.cuda.synchronize()
    for start, end in pairs:
        start.record()
        action()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in pairs]


def replayable(action: Action, device: str) -> Action:
    """On CUDA the action as a graph, which costs the CPU nothing to start; elsewhere itself."""
    if device != "cuda":
        return action
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # kernels choose their workspace before the capture
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    replay: Action = graph.replay
    return replay
