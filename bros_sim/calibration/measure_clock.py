"""Timing on a device: events and replayed graphs on CUDA, the CPU's clock elsewhere."""

import time
from collections.abc import Callable

import torch

Action = Callable[[], object]


def timings_s(action: Action, device: str, warm_up: int, repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` runs of ``action``, after ``warm_up`` that do not count."""
    for _ in range(warm_up):
        action()
    if device != "cuda":
        return [_seconds(action) for _ in range(repeats)]
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


def _seconds(action: Action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
