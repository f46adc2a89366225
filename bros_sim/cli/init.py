"""``init``: a commented experiment to start from."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bros_sim.cli.output import write
from bros_sim.core.data_files import data_path
from bros_sim.core.errors import InputError
from bros_sim.experiment.schema import json_schema
from bros_sim.plots import PLOTS

TEMPLATE = "quickstart.yaml"
FILES = ("experiment.yaml", "experiment.schema.json")


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write; made if missing.")] = Path(),
) -> None:
    """Write a commented experiment that runs, and the schema that editors complete it with.

    Example: `bros-sim init demo`, then `bros-sim run demo/experiment.yaml`
    """
    experiment, schema = (directory / name for name in FILES)
    for path in (experiment, schema):
        if path.exists():
            raise InputError(f"{path}: is already there; nothing was written")
    text = (data_path("experiments") / TEMPLATE).read_text(encoding="utf-8")
    text = text.replace("$schema=../experiment.schema.json", "$schema=experiment.schema.json")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        experiment.write_text(text, encoding="utf-8")
        schema.write_text(json.dumps(json_schema(PLOTS), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from None
    write(f"wrote {experiment}; run it with: bros-sim run {experiment}")
