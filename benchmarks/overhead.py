"""What spreading points over workers costs: a part of `make bench`.

200 points of about 0.1 s, each another seed, are run in one process and then on two workers. After
its start, the second run would take half the time of the first if nothing were lost.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import EXPERIMENT, VLLM
from bros_sim.config import parse
from bros_sim.experiment import load
from bros_sim.study.runner import here, run_points
from bros_sim.study.store import Store

RATE, DURATION_S = 3.0, 100.0
"""About 0.1 s of work for a point."""


def ends_s(points: int, workers: int) -> list[float]:
    """Run the points; when each was stored, in seconds from the start."""
    text = EXPERIMENT.format(duration=DURATION_S, rate=RATE, blocks="", batch="", system=VLLM)
    experiment = load(parse(f"{text}sweep: {{seeds: {points}}}\n", "overhead.yaml"))
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "overhead")
        store.open()
        start = time.perf_counter()
        run_points(
            experiment.points,
            store,
            partial(here, workers=workers),
            lambda *_: ends.append(time.perf_counter() - start),
        )
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    points = parser.parse_args().points
    alone = ends_s(points, 1)
    each = (alone[-1] - alone[0]) / (points - 1)
    both = ends_s(points, 2)
    # The first point of each worker pays for what a process does once; two points end in a start.
    begun = both[1]
    ideal = each * (points - 2) / 2
    print(f"\n{points} points of {each:.3f} s on 2 workers:")
    print(f"first point stored after {both[0]:.1f} s")
    print(f"after that {(both[-1] - begun) / ideal:.2f} times half of what one process takes")


if __name__ == "__main__":
    main()
