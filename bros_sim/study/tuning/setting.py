"""One system of an experiment at any values of the parameters that are searched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bros_sim.config import Data, Document
from bros_sim.config.messages import nearest
from bros_sim.core.errors import Fault, InputError
from bros_sim.experiment import Loaded, Point
from bros_sim.metrics.measures import Measure
from bros_sim.study.tuning.space import Parameter, Range
from bros_sim.study.variation import Variation

Values = Mapping[str, Data]
"""Path -> value of each parameter."""


class Setting:
    """What a trial runs.

    Attributes:
        system: Its name in the file: the one asked for, else that of the paths, else the only one.
        space: The parameters; ranges of whole numbers know that they are.
        given: The values without any change: those of the file, or the defaults.
        first_seed: Of the experiment.
        loaded: The experiment as given.

    Raises:
        InputError: A path, a range or the experiment is invalid, the system is not clear, or a
            sweep leaves more than one setting.
    """

    def __init__(
        self,
        document: Document,
        space: Sequence[Parameter],
        measures: Iterable[Measure],
        system: str | None = None,
    ) -> None:
        paths = [parameter.path for parameter in space]
        if twice := [path for path in paths if paths.count(path) > 1]:
            raise InputError(f"--vary {twice[0]}: is given twice")
        self.variation = Variation(document, paths, measures)
        self.loaded = self.variation.at({})
        self.system = self._system(list(self.loaded.spec.systems), system)
        _one_setting(self.loaded, self.system)
        self.space = [self._known(parameter) for parameter in space]
        if faults := dict.fromkeys(fault for p in self.space for fault in self._faults(p)):
            raise InputError(*faults)
        self.given: Values = {path: self.variation.given(path) for path in paths}
        self.first_seed = self.loaded.spec.seed

    def _system(self, systems: list[str], asked: str | None) -> str:
        if asked is not None and asked not in systems:
            raise InputError(f"--system {asked}: there is no such system{nearest(asked, systems)}")
        of_paths = {str(p[1]): dotted for dotted, p in self.variation.paths.items()
                    if p[0] == "systems"}  # fmt: skip
        choices = [asked] if asked is not None else list(of_paths) or systems
        for name, dotted in of_paths.items():
            if name != choices[0]:
                raise InputError(f"--vary {dotted}: is not of the system {choices[0]}")
        if len(choices) > 1:
            raise InputError(f"--system: say which one to tune: {', '.join(choices)}")
        return choices[0]

    def _known(self, parameter: Parameter) -> Parameter:
        """The parameter; of a range also whether it is of whole numbers."""
        if not isinstance(parameter, Range) or not parameter.low.is_integer():
            return parameter
        ends = parameter.high.is_integer()
        whole = ends and self.variation.only_whole(parameter.path, parameter.low)
        return replace(parameter, whole=whole)

    def _faults(self, parameter: Parameter) -> Iterator[Fault]:
        """Why the experiment refuses the edges, whatever edge one of the others has."""
        others = [
            {other.path: value}
            for other in self.space
            if other is not parameter
            for value in other.edges
        ]
        for value in parameter.edges:
            first, *rest = ({parameter.path: value, **other} for other in ({}, *others))
            faults = self._refusal(first)
            if faults and all(map(self._refusal, rest)):
                yield from faults

    def _refusal(self, values: Values) -> tuple[Fault, ...]:
        try:
            self.variation.at(values)
        except InputError as error:
            return error.faults
        return ()

    def points(self, values: Values, seeds: Iterable[int]) -> list[Point]:
        """The points with these values; without any those of the experiment as given.

        Raises:
            InputError: The experiment refuses them.
        """
        points = self.variation.at(values).points
        point = next(p for p in points if p.labels["system"] == self.system)
        return [point.with_seed(seed) for seed in seeds]


def _one_setting(loaded: Loaded, system: str) -> None:
    points = [point for point in loaded.points if point.labels["system"] == system]
    for name in points[0].labels:
        values = {str(point.labels[name]) for point in points}
        if len(values) > 1:
            what = f"{name} has {len(values)} values: a search is for one setting"
            raise InputError(f"sweep: {what}: add --set 'sweep.grid.{name}=[VALUE]'")
