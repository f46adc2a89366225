"""Arguments and options that several verbs have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from bros_sim.core.errors import InputError

PICTURES = {".png", ".svg", ".pdf"}


Format = StrEnum("Format", ["TABLE", "JSON"])  # how a result is printed
Form = Annotated[Format, Option("--format", help="How to print the results.")]

Experiment = Annotated[Path, Argument(help="The experiment: a YAML file.")]
Overrides = Annotated[list[str] | None, Option(
    "--set", metavar="PATH=VALUE",
    help="Change a value of the experiment, e.g. `--set workload.chat.slo.ttft_s=0.5`.",
)]  # fmt: skip
Workers = Annotated[int | None, Option(
    min=1, max=1024, help="Processes; 1 runs in this one. Default: one for each core.",
)]  # fmt: skip
Dask = Annotated[str | None, Option(
    metavar="ADDRESS", help="Run on the Dask cluster whose scheduler is there, e.g."
    " `tcp://10.0.0.7:8786`; needs `pip install 'bros-sim[cluster]'`.",
)]  # fmt: skip
Retry = Annotated[bool, Option("--retry-failed", help="Run points again that failed before.")]
Out = Annotated[Path, Option(help="Results go to OUT/NAME, by the name in the file.")]

ResultsFolder = Annotated[Path, Argument(help="Folder of a finished run: results/NAME.")]
Point = Annotated[int | None, Option(min=1, help="Number of the point, where there are several.")]

Gpu = Annotated[str, Option("--gpu", help="Id of a known GPU, or a YAML file with its data sheet.")]
Tp = Annotated[int, Option("--tp", min=1, help="GPUs of the replica.")]
Tables = Annotated[Path | None, Option(
    "--tables", metavar="DIR", help="Folder of kernel tables (docs/latency.md).",
)]  # fmt: skip


def check_picture(path: Path | None) -> None:
    """Refuse a figure of another format, with an `InputError`."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise InputError(f"--plot {path}: the name must end in .png, .svg or .pdf")
