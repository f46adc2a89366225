"""The loads that the rows of the summaries describe, one function for each source.

What a source does not state is made up by a stated rule: ShareGPT lengths are those of the shipped
twin, scaled to the stated means; other lengths are uniform about the stated mean.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.validation.spread import (
    Load,
    Reported,
    makespan,
    mean,
    mean_itl,
    percentile,
)
from bros_sim.workload.lengths import Empirical

Row = Mapping[Any, Any]
Ints = NDArray[np.int64]
Part = tuple[int, int | None]
SEED = 42
APART_S = 2000.0
"""Between passes of one load over one server, so that they share its caches and nothing else."""
BLOCK = 16


def accelmark(folder: Path) -> Iterator[Load]:
    """In-process engines: passes over the same prompts, so that caches are warm from the second on.

    Lengths of outputs are not stated for suite A: uniform about the mean, up to the cap of 512.
    Prompts of suite D are drawn between the stated quantiles.
    """
    arrivals = pd.read_csv(folder / "accelmark_arrivals.csv.gz")
    prompts = pd.read_csv(folder / "accelmark_requests.csv.gz")["prompt_tokens"].to_numpy()
    for row in _rows(folder / "accelmark_dev.csv"):
        if row["scenario"] == "burst":
            continue  # which requests it sends is not stated
        if row["scenario"] == "offline" and not row["level"].endswith((" 8)", " 1)")):
            continue  # repeats: the label changes nothing
        suite_a = row["suite"] == "suite_A"
        number = int(row["requests"])
        lengths = _suite_a(prompts, number) if suite_a else _suite_d(number)
        yield _accelmark_load(row, lengths, arrivals, cached=suite_a)


def _suite_a(prompts: Ints, number: int) -> tuple[Ints, Ints]:
    outputs = np.random.default_rng(SEED).integers(184, 512, number, endpoint=True)
    return prompts[:number] + 11, outputs


def _suite_d(number: int) -> tuple[Ints, Ints]:
    at = np.random.default_rng(SEED).uniform(0, 1, number)
    stated = [27000, 28245, 28650, 29210, 29932]
    prompts = np.interp(at, [0, 0.25, 0.5, 0.75, 0.99], stated).astype(np.int64)
    return prompts, np.full(number, 256, np.int64)


def _accelmark_load(
    row: Row, lengths: tuple[Ints, Ints], arrivals: pd.DataFrame, *, cached: bool
) -> Load:
    scenario, passes = row["scenario"], int(row["runs"])
    number = len(lengths[0])
    values = _accelmark_server(row)
    judged: Part = (0, None)
    if scenario == "online":
        rate = float(str(row["level"]).split()[1])
        chosen = arrivals[(arrivals["suite"] == row["suite"]) & (arrivals["rate_rps"] == rate)]
        chosen = chosen[chosen["index"] < number]
        sent = chosen["arrival_s"] - chosen.groupby("run")["arrival_s"].transform("min")
        times, index = (sent + APART_S * chosen["run"]).to_numpy(), chosen["index"].to_numpy()
        if row["level"] != "poisson 5 req/s" and cached:
            times, index, judged = _after_a_pass(times, index, number)
    elif scenario == "offline":
        times, index = np.repeat([0.0, APART_S], number), np.tile(np.arange(number), 2)
        judged = (number, None)
    elif scenario == "interactive":
        times, index = np.zeros(passes * number), np.tile(np.arange(number), passes)
        values["max_concurrency"] = 1
    else:
        cycles = 12 if cached else 4
        times, index = np.zeros(cycles * number), np.tile(np.arange(number), cycles)
        values["max_concurrency"], judged = 8, (number, -8)
    requests = _table(times, lengths[0][index], lengths[1][index], _hashes(index, lengths[0]))
    return Load(
        _gpu(row["gpu"]), "llama-3.1-8b", 1, row["version"], requests,
        tuple(_accelmark_figures(row)), values, judged,
    )  # fmt: skip


def _after_a_pass(times: Any, index: Any, number: int) -> tuple[Any, Any, Part]:
    """The same arrivals on a server that has seen the prompts before."""
    before = np.arange(number, dtype=float)
    return (
        np.concatenate([before, times + APART_S]),
        np.concatenate([np.arange(number), index]),
        (number, None),
    )


def _accelmark_server(row: Row) -> dict[str, Any]:
    """Limits as the README infers them; the V0 engine takes 4,096 prompt tokens an iteration."""
    values: dict[str, Any] = {"gpu_memory_utilization": float(row["gpu_memory_utilization"])}
    if row["version"].startswith("0.7"):
        return values | {"max_num_batched_tokens": 4096, "max_model_len": 4096}
    offline = row["scenario"] == "offline"
    longest = 4096 if row["suite"] == "suite_A" else 32768
    limits = (512, 8192) if offline else (128, 2048)
    names = ("max_num_seqs", "max_num_batched_tokens")
    return values | {"max_model_len": longest} | dict(zip(names, limits, strict=True))


def _accelmark_figures(row: Row) -> Iterator[Reported]:
    for column, kind in (("ttft", "TTFT"), ("tpot", "TPOT")):
        for percent in (50, 90, 99):
            if row[f"{column}_p{percent}"]:
                real = float(row[f"{column}_p{percent}"])
                yield Reported(kind, real, percentile(f"{column}_s", percent))
    if row["scenario"] == "offline":
        yield Reported("makespan", float(row["elapsed_s"]), makespan)
    if row["scenario"] == "sustained":
        tokens_s = float(row["out_tok_s"])
        yield Reported("makespan", 1 / tokens_s, lambda p: makespan(p) / p["output_tokens"].sum())


def gpustack(folder: Path) -> Iterator[Load]:
    """`vllm bench serve` at an infinite rate against a server with defaults."""
    for row in _rows(folder / "gpustack_dev.csv"):
        number = int(row["n"])
        if "random" in row["dataset"]:
            lengths = (np.full(number, 1996), np.full(number, 100))
        else:
            lengths = _sharegpt(number, float(row["input_len"]), float(row["output_len"]))
        reported = (
            Reported("makespan", float(row["duration_s"]), makespan),
            Reported("TTFT", float(row["ttft_mean_ms"]), mean("ttft_s")),
            Reported("TPOT", float(row["tpot_mean_ms"]), mean("tpot_s")),
        )
        requests = _table(np.zeros(number), *lengths)
        yield Load(_gpu(row["gpu"]), "qwen3-14b", 1, row["version"], requests, reported)


def mlenergy(folder: Path) -> Iterator[Load]:
    """Full batches in steady state; prompts are not stated: 100 tokens (chat), 250 (reasoning)."""
    for row in _rows(folder / "mlenergy_dev.csv"):
        seats, output = int(row["max_num_seqs"]), float(row["output_len"])
        number = min(int(row["n"]), 8 * seats)
        rng = np.random.default_rng(SEED)
        outputs = rng.integers(int(output / 2), int(1.5 * output), number, endpoint=True)
        prompt = 100 if row["task"] == "lm-arena-chat" else 250
        requests = _table(np.zeros(number), np.full(number, prompt), outputs)
        itl_ms = 1e3 * float(row["avg_batch"]) / float(row["out_tok_s"])
        yield Load(
            "h100-80gb", _model(row["model"]), 1, row["version"], requests,
            (Reported("TPOT", itl_ms, mean_itl),), {"max_num_seqs": seats},
            (0, number - seats if number > seats else None),
        )  # fmt: skip


def iog(folder: Path) -> Iterator[Load]:
    """ShareGPT prompts, Poisson; fp16 models, without the RTX 4090s that are joined over PCIe."""
    for row in _rows(folder / "iog_dev.csv"):
        gpu, model, tp = _gpu(row["gpu"]), _model(row["model"]), int(row["tp"])
        if not model or row["dtype"] != "fp16" or (tp > 1 and gpu == "rtx4090"):
            continue
        number = int(row["n"])
        rng = np.random.default_rng([SEED, int(row["rep"])])
        times = np.cumsum(rng.exponential(1 / float(row["arrival"].split()[1]), number))
        lengths = _sharegpt(number, float(row["input_len"]), float(row["output_len"]))
        reported = (
            Reported("TTFT", float(row["ttft_p50"]), percentile("ttft_s", 50)),
            Reported("TPOT", float(row["tpot_mean_ms"]), mean("tpot_s")),
            Reported("TPOT", float(row["tpot_p99"]), percentile("tpot_s", 99)),
        )
        requests, values = _table(times, *lengths), {"max_model_len": 8192}
        yield Load(gpu, model, tp, row["version"], requests, reported, values)


def llmd_short(folder: Path) -> Iterator[Load]:
    """Two nearly idle replicas, evenly spaced requests."""
    for row in _rows(folder / "llmd_short_dev.csv"):
        number, prompt = int(row["n"]), round(_number(row["input_len"]))
        times = np.arange(number) / _number(row["arrival"])
        reported = (
            Reported("TTFT", float(row["ttft_mean_ms"]), mean("ttft_s")),
            Reported("TPOT", float(row["tpot_mean_ms"]), mean("tpot_s")),
        )
        requests = _table(times, np.full(number, prompt), np.full(number, 20))
        values = {"replicas": int(row["replicas"]), "max_model_len": 20000}
        values["gpu_memory_utilization"] = 0.95  # type: ignore[assignment] - a share
        yield Load("h100-80gb", "llama-3.1-70b", 2, "0.8.5", requests, reported, values)


def static(folder: Path) -> Iterator[Load]:
    """One batch at a time; engines of 2024 (V0)."""
    for row in _rows(folder / "static_dev.csv"):
        batch = int(row["batch"])
        requests = _table(
            np.zeros(batch),
            np.full(batch, int(row["prompt_tokens"])),
            np.full(batch, int(row["output_tokens"])),
        )
        reported = (Reported("makespan", float(row["e2e_ms"]) / 1e3, makespan),)
        values = {"max_model_len": 16384, "max_num_batched_tokens": 16384}
        gpu, model = _gpu(row["gpu"]), _model(row["model"])
        yield Load(gpu, model, int(row["tp"]), "0.6", requests, reported, values)


SOURCES: Mapping[str, Callable[[Path], Iterator[Load]]] = {
    "AccelMark": accelmark,
    "GPUStack": gpustack,
    "ML.Energy": mlenergy,
    "IOG": iog,
    "llm-d, short": llmd_short,
    "static batches": static,
}


def _rows(path: Path) -> list[Row]:
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def _table(times: Any, prompts: Any, outputs: Any, hashes: Any = None) -> pd.DataFrame:
    columns = {"arrival_s": times, "prompt_tokens": prompts, "output_tokens": outputs}
    return pd.DataFrame(columns if hashes is None else columns | {"block_hashes_16": hashes})


def _hashes(index: Ints, prompts: Ints) -> list[str]:
    """Those of the full blocks of each request's prompt, which no other prompt shares."""
    most = int(prompts.max()) // BLOCK + 1
    return [
        " ".join(str(int(i) * most + block) for block in range(int(prompts[i]) // BLOCK))
        for i in index
    ]


def _sharegpt(number: int, prompt: float, output: float) -> tuple[Ints, Ints]:
    """The shipped twin's lengths, scaled to the stated means."""
    found = Empirical(name="sharegpt-vllm").sample(number, np.random.default_rng(SEED))
    scaled = [v * (aim / v.mean()) for v, aim in zip(found, (prompt, output), strict=True)]
    prompts, outputs = (np.maximum(1, np.rint(v)).astype(np.int64) for v in scaled)
    return prompts, outputs


def _gpu(name: str) -> str:
    for part, gpu in (("4090", "rtx4090"), ("PCIe", "h100-pcie-80gb"), ("A100", "a100-80gb")):
        if part in name:
            return gpu
    return "h100-80gb"


_SIZES = {
    ("llama", "8b"): "llama-3.1-8b",
    ("llama", "70b"): "llama-3.1-70b",
    ("qwen3", "8b"): "qwen3-8b",
    ("qwen3", "14b"): "qwen3-14b",
    **{("qwen", f"{size}b"): f"qwen2.5-{size}b" for size in ("1.5", "7", "14", "32")},
    ("acemath", "7b"): "qwen2.5-7b",
    ("qwq", "32b"): "qwen2.5-32b",
}
"""Models by a word and a size in their names; fine-tuned ones have the shape of their base."""


def _model(name: str) -> str:
    """Empty where the shape is none that is known here."""
    lower = name.lower()
    for (word, size), model in _SIZES.items():
        if re.search(rf"{word}.*-{re.escape(size)}(?!\d)", lower):
            return model
    return ""


def _number(text: str) -> float:
    """The first number of a text."""
    found = re.search(r"\d+(\.\d+)?", text)
    assert found is not None
    return float(found.group())
