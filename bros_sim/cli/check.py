"""``check``: is an experiment file without fault?"""

from bros_sim.cli.experiments import load_experiment
from bros_sim.cli.options import ExperimentFile, Overrides
from bros_sim.cli.output import write
from bros_sim.core.labels import counted


def check(experiment: ExperimentFile, overrides: Overrides = None) -> None:
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
