"""Which values to try next: Optuna's tree-structured Parzen estimator (TPE).

Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011; constraints as in
Optuna 5: trials that break none first, the others by how far they are off.
"""

import itertools
import math
from collections.abc import Sequence

import optuna
from optuna import distributions

from bros_sim.study.tuning.space import Choice, Parameter, Values

Proposal = tuple[optuna.Trial, Values]
"""Optuna's trial, for `Sampler.tell`, and the values to try."""


class Sampler:
    """Proposes values, by the seed and the results so far; a small space whole, in its order."""

    def __init__(
        self, space: Sequence[Parameter], given: Values, *, maximize: bool, trials: int, seed: int
    ) -> None:
        self._space = {parameter.path: parameter for parameter in space}
        self._of = {parameter.path: _distribution(parameter) for parameter in space}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        chooser = optuna.samplers.TPESampler(seed=seed)
        direction = "maximize" if maximize else "minimize"
        self._study = optuna.create_study(sampler=chooser, direction=direction)
        if all(parameter.holds(given[parameter.path]) for parameter in space):
            choices = [p for p in space if isinstance(p, Choice)]
            places = {p.path: p.values.index(given[p.path]) for p in choices}
            self._study.enqueue_trial({**given, **places})
        finite = [parameter.numbers for parameter in space if parameter.numbers is not None]
        if len(finite) == len(space) and math.prod(r.stop - r.start for r in finite) <= trials:
            for values in itertools.product(*finite):
                self._study.enqueue_trial(dict(zip(self._of, values, strict=True)))

    def ask(self) -> Proposal:
        """What to try next, perhaps known values."""
        trial = self._study.ask(self._of)
        return trial, {path: p.written(trial.params[path]) for path, p in self._space.items()}

    def tell(self, trial: optuna.Trial, objective: float, off: float) -> None:
        """Their result; ``off``: how far from the targets, infinite if they cannot be run."""
        trial.set_constraint("targets", off)
        worst = -math.inf if self._study.direction.name == "MAXIMIZE" else math.inf
        self._study.tell(trial, worst if math.isnan(objective) else objective)


def _distribution(parameter: Parameter) -> distributions.BaseDistribution:
    if isinstance(parameter, Choice):
        return distributions.CategoricalDistribution(parameter.numbers)
    if parameter.whole:
        low, high = int(parameter.low), int(parameter.high)
        return distributions.IntDistribution(low, high, log=parameter.log)
    return distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.log)
