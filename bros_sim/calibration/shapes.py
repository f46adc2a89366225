"""The batches to measure, in the file format of ``vllm bench forward --shapes``."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bros_sim.calibration.files import Count, Foreign, checked, read_json, refuse
from bros_sim.core.atomic import written
from bros_sim.engine.latency_model import StepShape

BLOCK_SIZE = 16  # tokens of a KV block, where batches are planned and measured


@dataclass(frozen=True)
class Group:
    """``count`` equal requests: ``tokens`` computed now, after ``context`` tokens in the cache."""

    count: int
    tokens: int
    context: int

    @property
    def length(self) -> int:
        """Tokens of a request after the iteration."""
        return self.context + self.tokens

    @property
    def decodes(self) -> bool:
        """One token after others; else a prefill."""
        return self.tokens == 1 and self.context > 0


@dataclass(frozen=True)
class Case:
    """One batch."""

    name: str
    groups: tuple[Group, ...]

    @property
    def tokens(self) -> int:
        """Tokens computed in the iteration."""
        return sum(group.count * group.tokens for group in self.groups)

    @property
    def blocks(self) -> int:
        """KV blocks that the batch holds after the iteration."""
        return sum(group.count * -(-group.length // BLOCK_SIZE) for group in self.groups)

    @property
    def longest(self) -> int:
        """Tokens of the longest request after the iteration."""
        return max(group.length for group in self.groups)

    @property
    def shape(self) -> StepShape:
        """The batch as latency models see it."""
        decodes = [g for g in self.groups if g.decodes]
        chunks = (((g.tokens, g.context),) * g.count for g in self.groups if not g.decodes)
        kv_tokens = sum(g.count * g.length for g in decodes)
        return StepShape(sum(chunks, ()), sum(g.count for g in decodes), kv_tokens)


def write_shapes(cases: Iterable[Case], path: Path) -> None:
    """Write the batches as JSON, whole or not at all."""
    lines = ",\n".join(json.dumps(_entry(case)) for case in cases)
    with written(path) as draft:
        draft.write_text(f'{{"cases": [\n{lines}\n]}}\n', encoding="utf-8")


def _entry(case: Case) -> dict[str, Any]:
    requests = []
    for g in case.groups:
        sizes = {"query_len": g.tokens, "kv_len": g.length}
        chunked = bool(g.context) and not g.decodes
        requests.append({**sizes, "chunked": chunked, "count": g.count})
    return {"name": case.name, "requests": requests}


class BatchRequest(Foreign):
    """A request of a batch as vLLM writes it: tokens computed now, and with those before."""

    query_len: Count
    kv_len: Count

    @property
    def fault(self) -> str:
        """What is wrong with the lengths, if anything."""
        what = f"kv_len: {self.kv_len} is less than query_len {self.query_len}"
        return what if self.kv_len < self.query_len else ""

    def group(self, count: int = 1) -> Group:
        """So many of it."""
        return Group(count, self.query_len, self.kv_len - self.query_len)


class _Request(BatchRequest):
    num_draft_tokens: Annotated[int, Field(le=0)] = 0
    count: Count = 1


class _Case(Foreign):
    name: str
    requests: Annotated[list[_Request], Field(min_length=1)]


class _Shapes(Foreign):
    cases: Annotated[list[_Case], Field(min_length=1)]


def read_shapes(path: Path) -> list[Case]:
    """The batches of a shapes file; `InputError` with one line for each fault."""
    shapes = checked(_Shapes, read_json(path), str(path))
    faults = [
        f"{path}: cases.{n}.requests.{m}.{request.fault}"
        for n, case in enumerate(shapes.cases)
        for m, request in enumerate(case.requests)
        if request.fault
    ]
    refuse(str(path), faults)
    return [Case(c.name, tuple(r.group(r.count) for r in c.requests)) for c in shapes.cases]
