"""What leads to a first run: an experiment to start from, its check, its schema, its parts."""

import json
from pathlib import Path
from typing import Annotated

from typer import Argument

from bros_sim.cli import options
from bros_sim.cli.experiments import load_experiment
from bros_sim.cli.printing import show, write_json
from bros_sim.cli.verbs import write
from bros_sim.core.data_files import data_path
from bros_sim.core.errors import InputError
from bros_sim.core.labels import counted
from bros_sim.experiment.schema import json_schema
from bros_sim.plots import PLOTS
from bros_sim.report.listing import What, listing


def init(
    directory: Annotated[Path, Argument(help="Where to write; made if missing.")] = Path(),
) -> None:
    """Write a commented experiment that runs, and the schema that editors complete it with.

    Example: `bros-sim init demo`, then `bros-sim run demo/experiment.yaml`
    """
    experiment, schema = directory / "experiment.yaml", directory / "experiment.schema.json"
    for path in (experiment, schema):
        if path.exists():
            raise InputError(f"{path}: is already there; nothing was written")
    text = (data_path("experiments") / "quickstart.yaml").read_text(encoding="utf-8")
    text = text.replace("$schema=../experiment.schema.json", "$schema=experiment.schema.json")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        experiment.write_text(text, encoding="utf-8")
        schema.write_text(json.dumps(json_schema(PLOTS), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from None
    write(f"wrote {experiment}; run it with: bros-sim run {experiment}")


def check(experiment: options.Experiment, overrides: options.Overrides = None) -> None:
    """Check an experiment file: every fault as `file:line:column: path: what is wrong`.

    Example: `bros-sim check experiments/quickstart.yaml`
    """
    loaded, _ = load_experiment(experiment, overrides)
    points = counted(len(loaded.points), "point")
    if loaded.drawn:
        points += f" and {len(loaded.drawn)} of draws"
    if until := loaded.spec.sweep.until:
        points += f", more seeds where intervals are wide, up to {until.max_seeds}"
    write(f"{experiment}: {loaded.spec.name}: {points}, no faults")


def list_kinds(
    what: Annotated[What | None, Argument(help="What to list; all of it by default.")] = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """List what an experiment can be made of: kinds, their parameters, defaults and meaning.

    Example: `bros-sim list schedulers`
    """
    show(listing(what), form)


def schema() -> None:
    """Print the JSON schema of an experiment file, for completion in editors.

    Example: `bros-sim schema > experiment.schema.json`, and as first line of an experiment
    `# yaml-language-server: $schema=experiment.schema.json`
    """
    write_json(json_schema(PLOTS))
