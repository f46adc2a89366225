"""``profile plan``: which batches to measure on a GPU."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.calibration import plan as planning
from bros_sim.calibration.gpus import find_gpu
from bros_sim.calibration.models import read_model_config
from bros_sim.calibration.plan import write_shapes
from bros_sim.calibration.profiles import BLOCK_SIZE
from bros_sim.cli.options import ConfigOption, GpuOption, TpOption
from bros_sim.cli.output import write
from bros_sim.core.atomic import keep_source


def plan(
    gpu: GpuOption,
    model: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="SHAPES.json", help="File to write.")],
    tp: TpOption = 1,
    max_num_batched_tokens: Annotated[
        int, typer.Option(min=16, help="Tokens of one iteration at most, as the engine has it.")
    ] = 8192,
    max_num_seqs: Annotated[int, typer.Option(min=2, help="Requests at once at most.")] = 256,
) -> None:
    """Write the batches that `vllm bench forward --shapes` or `profile measure` will time.

    Prefill, decode and mixed batches on a grid, as far as the KV cache and the engine's limits
    allow. The bounds are those of the engine to be simulated: give the same to both.

    Example: `bros-sim profile plan --gpu a100-80gb --model config.json --out shapes.json`
    """
    keep_source(model, out)
    config = read_model_config(model)
    config.require_tp(tp)
    card = find_gpu(gpu).gpu()
    room = planning.room_on(card, config, tp, max_num_batched_tokens, max_num_seqs)
    cases = planning.plan(room)
    write_shapes(cases, out)
    kinds = [bool(case.shape.chunks) + 2 * bool(case.shape.decode_jobs) for case in cases]
    minutes = planning.estimated_s(cases, card, config, tp) / 60
    write(
        f"{out} written: {len(cases)} batches ({kinds.count(1)} prefill, {kinds.count(2)} decode,"
        f" {kinds.count(3)} mixed), about {minutes:.0f} minutes with vllm bench forward (rough)\n"
        f"  {config.shape.name} on {tp} x {card.name}: room for {room.blocks:,} KV blocks of"
        f" {BLOCK_SIZE} tokens"
    )
