"""LLMServingSim's layer tables (profiler 1.0, vLLM 0.19): CUDA time of each layer of one block.

Three CSV files make a set, in microseconds: ``attention`` by chunk, tokens before the chunk,
decoding requests and the tokens before each of their new ones; ``dense`` by tokens;
``per_sequence`` by sequences. An iteration is the sum of their layers, which are linear between
measured sizes: those of a block times the blocks; embedding, final norm, LM head and sampler once.
Neither the engine's overhead nor the two all-reduces of a block are in it; ``skew`` is not used.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bros_sim.calibration.files import refuse
from bros_sim.calibration.importers.base import Content, Options, Steps
from bros_sim.calibration.layerwise import COLUMNS, ONCE, calls_in_block
from bros_sim.calibration.step_rows import step_row
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape

US = 1e-6
OPTIONAL = ("qk_norm", "rotary_emb")  # layers that some architectures do not have
PER_BLOCK = (
    *("layernorm", "qkv_proj", *OPTIONAL, "o_proj"),
    *("gate_up_proj", "act_fn", "down_proj"),
)
HEAD = ("lm_head", "sampler")


class Curve(NamedTuple):
    """Microseconds against a size: linear between the measured sizes."""

    sizes: NDArray[np.float64]
    time_us: NDArray[np.float64]

    def at(self, size: NDArray[np.float64]) -> NDArray[np.float64]:
        """Microseconds of each of some sizes."""
        return np.interp(size, self.sizes, self.time_us)


def is_layer_table(content: Content) -> bool:
    """A CSV file with the columns of one of the tables."""
    return _kind(content) is not None


def _kind(content: Content) -> str | None:
    return next((kind for kind, need in COLUMNS.items() if set(need) <= set(content.header)), None)


def read_layers(contents: Sequence[Content], options: Options) -> Steps:
    """One iteration for each row of the attention table, inside the range of the other two."""
    tables = _tables(contents)
    if options.model is None:
        raise InputError(
            f"{contents[0].path}: layer tables need --model: how many blocks there are"
        )
    dense = _curves(tables["dense"], "tokens", {*PER_BLOCK, *ONCE} - {*OPTIONAL})
    head = _sum(_curves(tables["per_sequence"], "sequences", HEAD), HEAD)
    block, once = _sum(dense, PER_BLOCK), _sum(dense, ONCE)
    cells = np.array(_numbers(tables["attention"], COLUMNS["attention"]))
    chunk, before, seqs, kv, time_us = cells.T
    tokens, sequences = chunk + seqs, seqs + (chunk > 0)
    inside = tokens <= min(block.sizes[-1], once.sizes[-1])
    inside &= (sequences <= head.sizes[-1]) & (tokens > 0)
    total_us = options.model.shape.layers * (block.at(tokens) + time_us)
    total_us += once.at(tokens) + head.at(sequences)
    rows = []
    for n in np.flatnonzero(inside).tolist():
        chunks = ((int(chunk[n]), int(before[n])),) if chunk[n] else ()
        shape = StepShape(chunks, int(seqs[n]), int(seqs[n] * (kv[n] + 1)))
        rows.append(step_row(shape, US * float(total_us[n]), 1))
    outside = len(cells) - len(rows)
    return Steps(tuple(rows), tuple(_notes(outside, "skew" in tables, options.tp)))


def _notes(outside: int, skew: bool, tp: int) -> list[str]:
    notes = ["times are CUDA time of the layers: the engine's overhead is not in them"]
    if tp > 1:
        notes.append(f"tp {tp}: the two all-reduces of each block are not in these files: ADD THEM")
    if outside:
        notes.append(f"left out: {outside} attention rows beyond the sizes of the other tables")
    if skew:
        notes.append("left out: the skew table (batches of unequal KV lengths)")
    return notes


def _tables(contents: Sequence[Content]) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for content in contents:
        kind = str(_kind(content))
        if kind in found:
            raise InputError(f"{content.path}: is a second {kind} table, beside {found[kind].path}")
        found[kind] = content
    missing = [kind for kind in ("attention", "dense", "per_sequence") if kind not in found]
    if missing:
        what = f"name the {' and '.join(missing)} table of the same set as well"
        raise InputError(f"{contents[0].path}: {what}")
    return found


def _curves(content: Content, size: str, wanted: Iterable[str]) -> dict[str, Curve]:
    points: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for record, point in zip(content.records, _numbers(content, (size, "time_us")), strict=True):
        points[record.data["layer"]].append(point)
    strange = sorted(set(points) - {*PER_BLOCK, *ONCE, *HEAD})
    faults = [f"{content.path}: layer: '{name}' is not known" for name in strange]
    missing = sorted(set(wanted) - set(points))
    faults += [f"{content.path}: layer: there is no '{name}'" for name in missing]
    if faults:
        raise InputError(*faults)
    return {name: Curve(*np.array(sorted(found)).T) for name, found in points.items()}


def _sum(curves: Mapping[str, Curve], names: Iterable[str]) -> Curve:
    """The sum of several layers, at every size that one of them was measured at and all cover."""
    parts = {name: curves[name] for name in names if name in curves}
    known = np.unique(np.concatenate([curve.sizes for curve in parts.values()]))
    sizes = known[known <= min(curve.sizes[-1] for curve in parts.values())]
    times = [calls_in_block(name) * curve.at(sizes) for name, curve in parts.items()]
    return Curve(sizes, np.sum(times, axis=0))


def _numbers(content: Content, columns: Sequence[str]) -> list[tuple[float, ...]]:
    faults, rows = [], []
    for record in content.records:
        values = {name: _number(record.data[name]) for name in columns}
        faults += [
            f"{record.place}: {name}: must be a number from 0, not '{record.data[name]}'"
            for name, value in values.items()
            if value is None
        ]
        rows.append(tuple(value or 0.0 for value in values.values()))
    refuse(str(content.path), faults)
    if not rows:
        raise InputError(f"{content.path}: the table has no rows")
    return rows


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
