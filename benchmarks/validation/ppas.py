"""Two token budgets on two loads, on an A100: does the simulator order them as the hardware did?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.validation.pairs import profile_of
from benchmarks.validation.tables import table
from bros_sim.profiles.profile import Profile
from bros_sim.validation.real_run import EngineArguments
from bros_sim.validation.replay import replay

GPU = "a100-80gb"
MODELS = {
    "meta-llama/Llama-3.2-3B-Instruct": "llama-3.2-3b",
    "Qwen/Qwen2.5-3B-Instruct": "qwen2.5-3b",
}
BUDGETS = (2048, 16384)
DRAWS = 20
"""Arrivals drawn for each seed of the hardware; they are stated as a process, not as times."""
HEAD = (
    *("model", "load, requests/s", "real 2,048", "real 16,384", "real ratio", "seeds"),
    *("simulated 2,048", "simulated 16,384", "simulated ratio", "draws", "same order"),
)


def orders(summaries: Path, tables: Path) -> list[list[str]]:
    """A line for each model and load: mean E2E of both budgets, and which of them is better.

    ``seeds`` and ``draws``: in how many the larger budget has the smaller mean E2E.
    """
    rows = pd.read_csv(summaries / "ppas_dev.csv")
    rows = rows[rows["policy"].str.startswith("mbt_")]
    return [
        _line(str(model), str(load), part, tables)
        for (model, load), part in rows.groupby(["model", "arrival"], sort=False)
    ]


def orders_table(lines: list[list[str]]) -> str:
    """These lines under their head."""
    return table(HEAD, lines)


def _line(model: str, load: str, part: pd.DataFrame, tables: Path) -> list[str]:
    profile = profile_of(GPU, MODELS[model], 1, tables)
    assert profile is not None
    real = part.pivot_table(index="seed", columns="max_num_batched_tokens", values="avg_e2e_s")
    counts = part.groupby("seed")["n"].first()
    simulated = pd.DataFrame(list(_draws(load, counts, part, profile)), columns=list(BUDGETS))
    a, b = (
        float(means[BUDGETS[1]] / means[BUDGETS[0]]) for means in (real.mean(), simulated.mean())
    )
    peak = max(rate for _, rate in phases(load))
    cells = [[model.partition("/")[2], f"0.2 and {peak:g} in turns"]]
    for side, ratio in ((real, a), (simulated, b)):
        better = int((side[BUDGETS[1]] < side[BUDGETS[0]]).sum())
        means = [f"{side[budget].mean():.2f} s" for budget in BUDGETS]
        cells.append([*means, f"{ratio:.2f}", f"{better} of {len(side)}"])
    return [*cells[0], *cells[1], *cells[2], "yes" if (a < 1) == (b < 1) else "no"]


def _draws(
    load: str, counts: "pd.Series[int]", part: pd.DataFrame, profile: Profile
) -> Iterator[list[float]]:
    row = part.iloc[0]
    for seed, number in counts.items():
        for draw in range(DRAWS):
            rng = np.random.default_rng([int(str(seed)), draw])
            requests = pd.DataFrame(
                {
                    "arrival_s": arrivals(load, int(number), rng),
                    "prompt_tokens": int(row["input_len"]),
                    "output_tokens": int(row["output_len"]),
                }
            )
            yield [_mean_e2e_s(requests, budget, row, profile) for budget in BUDGETS]


def phases(load: str) -> list[tuple[float, float]]:
    """Seconds and requests per second of each part of ``piecewise_poisson 10:0.2,...``."""
    parts = load.partition(" ")[2].split(",")
    return [(float(p.partition(":")[0]), float(p.partition(":")[2])) for p in parts]


def arrivals(load: str, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """So many arrivals of a Poisson process whose rate changes: given their number, drawn apart."""
    lengths, rates = np.array(phases(load)).T
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    expected = np.concatenate([[0.0], np.cumsum(lengths * rates)])
    return np.sort(np.interp(rng.uniform(0, expected[-1], number), expected, ends))


def _mean_e2e_s(requests: pd.DataFrame, budget: int, row: "pd.Series", profile: Profile) -> float:  # type: ignore[type-arg]
    values = {"max_num_batched_tokens": budget, "max_num_seqs": int(row["max_num_seqs"])}
    arguments = EngineArguments(Path("ppas_dev.csv"), str(row["version"]), values)
    times = replay(requests, arguments, profile)
    return float((times["last_token_s"] - times["arrival_s"]).mean())
