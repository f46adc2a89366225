"""Arguments and options that several verbs have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bros_sim.config import Document, override, read_yaml
from bros_sim.core.errors import InputError

PICTURES = {".png", ".svg", ".pdf"}


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the results.")]

ExperimentFile = Annotated[Path, typer.Argument(help="The experiment: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a value of the experiment, e.g. `--set workload.chat.slo.ttft_s=0.5`.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Processes; 1 runs in this one. Default: one for each core."
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run on the Dask cluster whose scheduler is there, e.g. `tcp://10.0.0.7:8786`;"
        " needs `pip install 'bros-sim[cluster]'`.",
    ),
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Run points again that failed before.")
]
OutOption = Annotated[Path, typer.Option(help="Results go to OUT/NAME, by the name in the file.")]

ResultsFolder = Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")]
PointOption = Annotated[
    int | None, typer.Option(min=1, help="Number of the point, where there are several.")
]

GpuOption = Annotated[
    str, typer.Option("--gpu", help="Id of a known GPU, or a YAML file with its data sheet.")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="Path of a config.json, or a model of a shipped profile.")
]
ConfigOption = Annotated[
    Path,
    typer.Option("--model", metavar="CONFIG.json", help="The model's config, as on Hugging Face."),
]
TpOption = Annotated[int, typer.Option("--tp", min=1, help="GPUs of the replica.")]
ProfileOutOption = Annotated[
    Path, typer.Option("--out", metavar="FILE.yaml", help="Profile to write.")
]
TablesOption = Annotated[
    Path | None,
    typer.Option("--tables", metavar="DIR", help="Folder of kernel tables (docs/latency.md)."),
]


def read_experiment(path: Path, overrides: list[str] | None) -> Document:
    """The file with what ``--set`` changes.

    Raises:
        InputError: It cannot be read, or an assignment names nothing.
    """
    document = read_yaml(path)
    for assignment in overrides or []:
        document = override(document, assignment)
    return document


def check_picture(path: Path | None) -> None:
    """Refuse a figure of another format.

    Raises:
        InputError: The name does not end in one of PICTURES.
    """
    if path is not None and path.suffix.lower() not in PICTURES:
        raise InputError(f"--plot {path}: the name must end in .png, .svg or .pdf")
