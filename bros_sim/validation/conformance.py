"""Decision logs of the real vLLM scheduler, replayed through the code that simulations run.

A log (``bros-vllm-oracle/1``, docs/invariants.md) has every decision; every field is compared.
"""

import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bros_sim.core.errors import InputError
from bros_sim.core.request import Request, ServiceClass, Slo
from bros_sim.engine.engine import Engine
from bros_sim.engine.estimate import Estimate
from bros_sim.engine.record import RunLog
from bros_sim.engine.sequence import Sequence, SequenceView
from bros_sim.kv.paged import PagedKV, VllmRelease
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.vllm import VllmScheduler
from bros_sim.schedulers.vllm_parameters import VllmParameters

ONE_SECOND = Linear(prefill_ms=1000.0, decode=DecodeLine(const_ms=1000.0)).make()
FORMAT = "bros-vllm-oracle/1"
SCHEDULER = (
    *("policy", "max_num_batched_tokens", "max_num_seqs"),
    *("enable_chunked_prefill", "long_prefill_token_threshold"),
)
KV = ("num_gpu_blocks", "block_size", "enable_prefix_caching")
ADDED = {"scheduler_reserve_full_isl": False, "watermark": 0.0}  # not in old logs


@dataclass(frozen=True)
class Difference:
    """The first iteration in which a replay and its log disagree."""

    step: int
    field: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"iteration {self.step}: {self.field}: log {self.expected}, simulator {self.got}"


def find_logs(folder: Path) -> list[Path]:
    """The ``*.json`` and ``*.json.gz`` files below a folder (or the one file given), sorted."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such file or folder")
    logs = sorted(p for p in folder.rglob("*") if p.name.endswith((".json", ".json.gz")))
    if not logs:
        raise InputError(f"{folder}: holds no decision log (*.json or *.json.gz)")
    return logs


def read_log(path: Path) -> dict[str, Any]:
    """One decision log; `InputError` names what keeps it from being one."""
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        log = json.loads(text)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable decision log: {error}") from error
    if not isinstance(log, dict) or log.get("format") != FORMAT:
        raise InputError(f"{path}: format: expected {FORMAT!r}")
    if log.get("log") == []:
        raise InputError(f"{path}: log: holds no iteration")
    missing = [key for key in ("vllm_version", "config", "requests", "log") if key not in log]
    if missing:
        raise InputError(*(f"{path}: {key}: missing" for key in missing))
    return log


def compare(path: Path) -> Difference | None:
    """Replay one log; its first difference, or None when every field of every iteration agrees."""
    log = read_log(path)
    try:
        replay = _Replay(log)
        for expected in log["log"]:
            got = replay.step(expected["step"])
            for name in expected:
                if name != "step" and (name not in got or got[name] != expected[name]):
                    return Difference(expected["step"], name, expected[name], got.get(name))
        return replay.summary_difference(log.get("summary", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a {FORMAT} log: {error!r}") from error


class _Replay:
    """One log's requests and configuration in an engine that is driven iteration by iteration."""

    def __init__(self, log: dict[str, Any]) -> None:
        config = log["config"]
        version = rules_of(log["vllm_version"])
        stated = {name: config.get(name, default) for name, default in ADDED.items()}
        stated |= {name: config[name] for name in SCHEDULER}
        self._scheduler = VllmScheduler(VllmParameters(version=version, **stated))
        kv = {name: config[name] for name in KV}
        self._kv = PagedKV(PagedParameters(version=version, **kv))
        self._engine = Engine(
            id=0,
            scheduler=self._scheduler,
            kv=self._kv,
            latency=ONE_SECOND,
            log=RunLog(),
            max_model_len=config["max_model_len"],
            estimate=Estimate(ONE_SECOND),
            longest_stretch=1,
        )
        self._arrivals = deque(_seqs(log["requests"], config["max_model_len"]))
        self._seqs: dict[int, Sequence] = {}

    def step(self, number: int) -> dict[str, Any]:
        """The fields of one iteration as the simulator decides them."""
        while self._arrivals and self._arrivals[0].request.arrival_s <= number:
            seq = self._arrivals.popleft()
            self._seqs[seq.id] = seq
            self._engine.submit(seq)
        before = {seq.id: seq.num_preemptions for seq in self._seqs.values()}
        self._engine.begin(float(number))
        if not self._engine.busy:
            return {"ids": [], "n": []}
        got = self._decisions(before)
        finished = [seq.id for seq in self._engine.proceed()]
        self._kv.check(self._engine.holders())
        return got | {"finished": finished, "free_after": self._kv.free_blocks}

    def _decisions(self, preemptions: dict[int, int]) -> dict[str, Any]:
        plan = self._engine.plan
        assert plan is not None
        chunks = {seq.id: tokens for seq, tokens in plan.chunks}
        running: list[SequenceView] = list(self._engine.batch)
        scheduled = [seq.id for seq in running if seq.decoding or seq.id in chunks]
        hits = {seq.id: cached for seq, cached in plan.admitted}
        new = [i for i in hits if preemptions[i] == 0]
        resumed = [i for i in hits if preemptions[i] > 0]
        return {
            "ids": scheduled,
            "n": [chunks.get(i, 1) for i in scheduled],
            "new": new,
            "resumed": resumed,
            "preempted": [seq.id for seq in plan.evicted],
            "hit": [hits[i] for i in new + resumed],
            "free": self._kv.free_blocks,
            **_queue("running", running),
            **_queue("waiting", list(self._scheduler.waiting_seqs())),
        }

    def summary_difference(self, summary: dict[str, dict[str, int]]) -> Difference | None:
        """Compare the outputs and preemptions of every request at the end."""
        for name, expected in summary.items():
            seq = self._seqs[int(name)]
            got = {
                "outputs": seq.num_output,
                "preemptions": seq.num_preemptions,
                "admit": seq.first_scheduled_s,
                # Iterations begin at their number and take a second.
                "first_token": seq.first_token_s and seq.first_token_s - 1.0,
                "finish": seq.last_token_s and seq.last_token_s - 1.0,
            }
            for key, value in got.items():
                if expected[key] != value:
                    return Difference(-1, f"request {name} {key}", expected[key], value)
        return None


def rules_of(version: str) -> VllmRelease:
    """The release whose rules a recorded version follows."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (0, 13):
        return "0.11.2"
    return "0.13.0" if (major, minor) < (0, 20) else "0.33.0"


def _seqs(requests: Iterable[dict[str, Any]], max_model_len: int) -> Iterator[Sequence]:
    """The logged scheduler, behind no server that refuses, ends an output at the model length."""
    for r in sorted(requests, key=lambda r: (r["arrival_step"], r["id"])):
        output = max(1, min(r["output_len"], max_model_len - r["prompt_len"]))
        group, shared = r.get("prefix_group", 0), r.get("prefix_len", 0)
        request = Request(
            stream="log",
            index=r["id"],
            service_class=ServiceClass.BE if r["priority"] else ServiceClass.RT,
            arrival_s=float(r["arrival_step"]),
            prompt_tokens=r["prompt_len"],
            output_tokens=output,
            max_tokens=output,
            slo=Slo(),
            prefix_hashes=tuple((group << 32) + i for i in range(shared)),
            hash_block_tokens=1,
        )
        yield Sequence(r["id"], request, request.arrival_s)


def _queue(name: str, seqs: list[SequenceView]) -> dict[str, Any]:
    ids = [seq.id for seq in seqs]
    crc = zlib.crc32(",".join(map(str, ids)).encode())
    return {name: len(ids), f"{name}_crc": crc, f"{name}_ids": ids}
