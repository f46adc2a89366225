"""``schema``: the JSON schema of an experiment file."""

from bros_sim.cli.output import write_json
from bros_sim.experiment.schema import json_schema
from bros_sim.plots import PLOTS


def schema() -> None:
    """Print the JSON schema of an experiment file, for completion in editors.

    Example: `bros-sim schema > experiment.schema.json`, and as first line of an experiment
    `# yaml-language-server: $schema=experiment.schema.json`
    """
    write_json(json_schema(PLOTS))
