"""``profile plan``: which batches to measure on a GPU."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bros_sim.latency.profile import Gpu


def plan(
    gpu: Annotated[str, typer.Option(help="Id of a known GPU, or a name with its memory below.")],
    model: Annotated[
        Path, typer.Option(metavar="CONFIG.json", help="The model's config, as on Hugging Face.")
    ],
    out: Annotated[Path, typer.Option(metavar="SHAPES.json", help="File to write.")],
    tp: Annotated[int, typer.Option(min=1, help="GPUs of the replica.")] = 1,
    max_num_batched_tokens: Annotated[
        int, typer.Option(min=16, help="Tokens of one iteration at most, as the engine has it.")
    ] = 8192,
    max_num_seqs: Annotated[int, typer.Option(min=2, help="Requests at once at most.")] = 256,
    memory_gib: Annotated[
        float | None, typer.Option(min=0.001, metavar="GIB", help="Memory of one GPU.")
    ] = None,
    bandwidth_gb_s: Annotated[
        float | None, typer.Option(min=0.001, metavar="GB/S", help="Its memory bandwidth.")
    ] = None,
) -> None:
    """Write the batches that `vllm bench forward --shapes` or `profile measure` will time.

    Prefill, decode and mixed batches on a grid, as far as the KV cache and the engine's limits
    allow. The bounds are those of the engine to be simulated: give the same to both.

    Example: `bros-sim profile plan --gpu a100-80gb --model config.json --out shapes.json`
    """
    from bros_sim.calibration import plan as planning
    from bros_sim.calibration.model_config import read_model_config
    from bros_sim.calibration.shapes import write_shapes
    from bros_sim.workload.atomic import keep_source

    keep_source(model, out)
    dims = read_model_config(model)
    dims.require_tp(tp)
    card = _gpu(gpu, memory_gib, bandwidth_gb_s)
    room = planning.room_on(card, dims, tp, max_num_batched_tokens, max_num_seqs)
    cases = planning.plan(room)
    write_shapes(cases, out)
    kinds = [bool(case.shape.chunks) + 2 * bool(case.shape.decode_jobs) for case in cases]
    minutes = planning.estimated_s(cases, card, dims, tp) / 60
    sys.stdout.write(
        f"{out} written: {len(cases)} batches ({kinds.count(1)} prefill, {kinds.count(2)} decode,"
        f" {kinds.count(3)} mixed), about {minutes:.0f} minutes with vllm bench forward (rough)\n"
        f"  {dims.name} on {tp} x {card.name}: room for {room.blocks:,} KV blocks of"
        f" {planning.BLOCK_SIZE} tokens\n"
    )


def _gpu(name: str, memory_gib: float | None, bandwidth_gb_s: float | None) -> "Gpu":
    from dataclasses import replace

    from bros_sim.calibration.plan import known_gpus
    from bros_sim.config.messages import nearest
    from bros_sim.errors import InputError
    from bros_sim.latency.profile import Gpu

    known = known_gpus()
    if name in known:
        card = known[name]
        return replace(
            card,
            memory_gib=memory_gib or card.memory_gib,
            bandwidth_gb_s=bandwidth_gb_s or card.bandwidth_gb_s,
        )
    if memory_gib is None or bandwidth_gb_s is None:
        raise InputError(
            f"--gpu {name}: is not known{nearest(name, known)}; for another one give --memory-gib"
            " and --bandwidth-gb-s"
        )
    return Gpu(name, memory_gib, bandwidth_gb_s)
