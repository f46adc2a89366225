"""The experiment at any value of the path that a capacity search varies."""

import json
from dataclasses import dataclass

from bros_sim.config import Data, Document
from bros_sim.errors import InputError
from bros_sim.experiment import Loaded, load
from bros_sim.experiment.grid import NO_AXIS
from bros_sim.measures import Target

LEAST_OF = ("replicas", "num_gpu_blocks", "ttft_s", "tpot_s", "e2e_s")
"""Resources and limits, by the end of their paths: the least that will do is looked for."""


@dataclass(frozen=True)
class Question:
    """What is asked: which value of the path ``vary`` still keeps all ``targets``.

    The answer rests on ``seeds`` seeds; two values no farther apart than the share ``precision``
    are not split.
    """

    vary: str
    targets: tuple[Target, ...]
    seeds: int = 20
    precision: float = 0.05

    @property
    def least(self) -> bool:
        """Whether the least value is looked for, not the highest."""
        return self.vary.rpartition(".")[2] in LEAST_OF


class Variants:
    """The experiment of ``document`` for each value, with one seed.

    Attributes:
        start: The middle of the swept values of the path, else the value in the file, else the
            default.
        whole: Only whole numbers can be run.
        seeds: What the file says under sweep.seeds, or 1.

    Raises:
        InputError: The path names nothing, or no number; or the experiment is at fault.
    """

    def __init__(self, document: Document, question: Question) -> None:
        self.question = question
        self.path = document.path_of(question.vary)
        first = str(self.path[0])
        if first in {"outputs", "sweep", "figures"} or (len(self.path) == 1 and first in NO_AXIS):
            raise InputError(f"--vary {question.vary}: {first} cannot be varied")
        if dead_end := document.dead_end(self.path):
            raise InputError(f"--vary {question.vary}: names nothing: {dead_end}")
        self._loaded: dict[float, Loaded] = {}
        swept, seeds = (document.get(("sweep", *p)) for p in (("grid", question.vary), ("seeds",)))
        self.seeds = seeds if isinstance(seeds, int) else 1
        self._document = self._prepared(document)
        self.start = self._start(swept)
        self.whole = self.start.is_integer() and self._only_whole()
        self.at(self.start)

    def _prepared(self, document: Document) -> Document:
        """One seed (a search adds its own), no axis, be_retention where a target is about it."""
        document = document.without(("sweep", "grid", self.question.vary))
        document = document.without(("sweep", "seeds")).without(("sweep", "until"))
        if any(target.measure.metric == "be_retention" for target in self.question.targets):
            document = document.put(("outputs", "be_retention"), True, {(): "--target"})
        return document

    def _start(self, swept: Data) -> float:
        if isinstance(swept, list) and swept:
            numbers = sorted(n for value in swept if (n := _number(value)) > 0)
            here = numbers[len(numbers) // 2] if numbers else swept[0]
        else:
            here = self._document.get(self.path)
            here = self._default() if here is None else here
        number = _number(here)
        if number > 0:
            return number
        vary = self.question.vary
        if here is None:
            load(self._document.put(self.path, 1, {(): "--vary"}))  # is there such a key at all?
            raise InputError(f"--vary {vary}: has no value to start from: add --set {vary}=...")
        raise InputError(f"--vary {vary}: {json.dumps(here)} is not a number above 0 to start from")

    def _default(self) -> Data:
        here: Data = load(self._document).points[0].plain
        for step in self.path:
            here = here.get(str(step)) if isinstance(here, dict) else None
        return here

    def _only_whole(self) -> bool:
        try:
            self.at(self.start + 0.5)
        except InputError as error:
            return any("integer" in fault for fault in error.faults)
        return False

    def at(self, value: float) -> Loaded:
        """The experiment with that value.

        Raises:
            InputError: It cannot be run.
        """
        if value not in self._loaded:
            written = int(value) if value.is_integer() else value
            self._loaded[value] = load(self._document.put(self.path, written, {(): "--vary"}))
        return self._loaded[value]


def _number(value: Data) -> float:
    """NaN if it is none."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else float("nan")  # type: ignore[arg-type]
