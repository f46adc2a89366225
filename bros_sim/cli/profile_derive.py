"""``profile derive``: a profile of a GPU and model without measurements, and labelled so."""

from bros_sim.calibration import derive as derivation
from bros_sim.calibration.gpus import find_gpu
from bros_sim.calibration.models import find_model
from bros_sim.calibration.profiles import Target, write_profile
from bros_sim.cli.options import (
    Format,
    FormatOption,
    GpuOption,
    ModelOption,
    ProfileOutOption,
    TablesOption,
    TpOption,
)
from bros_sim.cli.output import say
from bros_sim.cli.printing import show
from bros_sim.report.profiles import NewProfile


def derive(
    gpu: GpuOption,
    model: ModelOption,
    out: ProfileOutOption,
    tp: TpOption = 1,
    tables: TablesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Derive a profile from kernel tables of the GPU or, without these, from its data sheet.

    Every result that uses it carries its label, and its band is wider than that of a fit.

    Example: `bros-sim profile derive --gpu l4-24gb --model config.json --out l4.yaml`
    """
    profile = derivation.derive(Target(find_gpu(gpu), find_model(model), tp), tables)
    write_profile(out, profile)
    show(NewProfile(profile, out), output)
    say(f"{out} written")
