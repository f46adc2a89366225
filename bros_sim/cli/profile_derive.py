"""``profile derive``: a profile of a GPU and model without measurements, and labelled so."""

from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.profile_fit import GpuOption, ModelOption, OutOption, TpOption, tell
from bros_sim.cli.run import Format, FormatOption

TablesOption = Annotated[
    Path | None,
    typer.Option("--tables", metavar="DIR", help="Folder of kernel tables (docs/latency.md)."),
]


def derive(
    gpu: GpuOption,
    model: ModelOption,
    out: OutOption,
    tp: TpOption = 1,
    tables: TablesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Derive a profile from kernel tables of the GPU or, without these, from its data sheet.

    Every result that uses it carries its label, and its band is wider than that of a fit.

    Example: `bros-sim profile derive --gpu l4-24gb --model config.json --out l4.yaml`
    """
    from bros_sim.calibration.derive import derive as derived
    from bros_sim.calibration.gpus import find_gpu
    from bros_sim.calibration.models import find_model
    from bros_sim.calibration.profiles import Target, write_profile

    profile = derived(Target(find_gpu(gpu), find_model(model), tp), tables)
    write_profile(out, profile)
    tell(profile, out, output)
