"""Speed and memory of the simulator: `make bench` prints the table of docs/speed.md.

Every row is a fresh process that runs one point as `bros-sim run` does: workload, simulation,
metrics, result files. Quoted is the median over the repetitions.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bros_sim.config import parse
from bros_sim.experiment import build, load
from bros_sim.study import runner

EXPERIMENT = """
name: bench
duration_s: {duration}
cluster: {{replicas: 1, profile: a100-80gb/llama-3-8b-tp1{blocks}}}
workload:
  chat:
    class: rt
    arrivals: {{kind: poisson, rate_rps: {rate}}}
    lengths: {{kind: empirical, name: azure-conv}}
    slo: {{ttft_s: 0.4, tpot_s: 0.2}}
{batch}
systems:
  one: {system}
"""
BATCH = """  batch:
    class: be
    arrivals: {kind: closed_loop, clients: 64}
    lengths: {kind: uniform, prompt: [512, 1024], output: [32, 128]}
"""
VLLM = "{scheduler: {kind: vllm}, kv: {kind: paged}}"
BROS = "{scheduler: {kind: bros}, kv: {kind: bidirectional}}"
TGI = "{scheduler: {kind: tgi, max_concurrent_requests: 100000}, kv: {kind: reserved}}"
NEAR_SATURATION, OVERLOAD, LIGHT = 7.5, 9.0, 2.0
BESIDE_BATCH, PAST_SATURATION = 5.0, 6.0
"""RT requests/s beside the batch: where the most of them keep their SLO, and more than that."""
SMALL, STORM = ", num_gpu_blocks: 1500", ", num_gpu_blocks: 5000"
CASES = [
    ("1k, near saturation", 1_000, NEAR_SATURATION, "", "", VLLM),
    ("5k, near saturation", 5_000, NEAR_SATURATION, "", "", VLLM),
    ("20k, near saturation", 20_000, NEAR_SATURATION, "", "", VLLM),
    ("20k, light load", 20_000, LIGHT, "", "", VLLM),
    ("5k, heavy preemption", 5_000, OVERLOAD, SMALL, "", VLLM),
    ("mixed RT/BE, vLLM", 1_000, BESIDE_BATCH, "", BATCH, VLLM),
    ("mixed RT/BE, TGI", 1_000, BESIDE_BATCH, "", BATCH, TGI),
    ("mixed RT/BE, BROS", 1_000, BESIDE_BATCH, "", BATCH, BROS),
    ("mixed RT/BE, BROS, past saturation", 1_000, PAST_SATURATION, "", BATCH, BROS),
    ("mixed RT/BE, BROS, little memory", 1_000, BESIDE_BATCH, STORM, BATCH, BROS),
]


def run_one(requests: int, rate: float, blocks: str, batch: str, system: str) -> dict[str, float]:
    """Run one point in this process and measure it."""
    text = EXPERIMENT.format(
        duration=requests / rate, rate=rate, blocks=blocks, batch=batch, system=system
    )
    point = load(parse(text, "bench.yaml")).points[0]
    loop = []
    simulate = build.simulate

    def timed(**parts):
        start = time.process_time()
        record = simulate(**parts)
        loop.append(time.process_time() - start)
        loop.append(sum(len(ends) for ends in record.iteration_end_s))
        loop.append(int(record.requests["num_preemptions"].sum()))
        loop.append(len(record.requests["request_id"]))
        return record

    build.simulate = timed
    with tempfile.TemporaryDirectory() as folder:
        store = runner.Store(Path(folder) / "bench")
        store.open()
        start = time.process_time()
        outcome = runner.execute(runner.Task.of(point, store))
        point_s = time.process_time() - start
    if outcome.error:
        raise SystemExit(outcome.error)
    loop_s, iterations, preemptions, arrived = loop
    return {
        "requests": arrived,
        "point_s": point_s,
        "loop_s": loop_s,
        "iterations": iterations,
        "preemptions": preemptions,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure(case: tuple, repetitions: int) -> dict[str, float]:
    """Medians over fresh processes, the process as a whole included."""
    runs = []
    for _ in range(repetitions):
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", json.dumps(case[1:])]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(json.loads(output) | {"process_s": time.perf_counter() - start})
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--repetitions", type=int, default=3, help="processes per row")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_one(*json.loads(arguments.one))))
        return
    print(f"CPython {platform.python_version()}, {platform.machine()}; CPU seconds but for the")
    print(f"whole process (wall); medians of {arguments.repetitions} fresh processes\n")
    print(
        "| case | requests/s, point | requests/s, loop | iterations/s, loop | preemptions |", end=""
    )
    print(" process, s | peak, MB |\n|---|---|---|---|---|---|---|")
    results = {}
    for case in CASES:
        r = results[case[0]] = measure(case, arguments.repetitions)
        print(
            f"| {case[0]} | {r['requests'] / r['point_s']:,.0f}"
            f" | {r['requests'] / r['loop_s']:,.0f} | {r['iterations'] / r['loop_s']:,.0f}"
            f" | {r['preemptions']:,.0f} | {r['process_s']:.1f} | {r['peak_mb']:.0f} |",
            flush=True,
        )
    small, large = (results[CASES[i][0]] for i in (0, 2))
    growth = (large["point_s"] / large["requests"]) / (small["point_s"] / small["requests"])
    print(f"\ntime per request at 20k over that at 1k: {growth:.2f}")
    calm, storm = (results[f"mixed RT/BE, BROS{name}"] for name in ("", ", little memory"))
    storm_cost = (storm["loop_s"] / storm["requests"]) / (calm["loop_s"] / calm["requests"])
    print(f"BROS, time per request with little memory over that with all: {storm_cost:.1f}")


if __name__ == "__main__":
    main()
