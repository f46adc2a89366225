"""The experiment at any value of the path that a capacity search varies."""

import json
from dataclasses import dataclass

from bros_sim.config import Data, Document
from bros_sim.core.errors import InputError
from bros_sim.experiment import Loaded
from bros_sim.metrics.measures import Target
from bros_sim.study.variation import Variation

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
        InputError: The path names nothing, or no number; or the experiment is invalid.
    """

    def __init__(self, document: Document, question: Question) -> None:
        self.question = question
        measures = [target.measure for target in question.targets]
        self.variation = Variation(document, [question.vary], measures)
        self._loaded: dict[float, Loaded] = {}
        self.seeds = self.variation.seeds
        self.start = self._start(document.get(("sweep", "grid", question.vary)))
        whole = self.start.is_integer()
        self.whole = whole and self.variation.only_whole(question.vary, self.start)
        self.at(self.start)

    def _start(self, swept: Data) -> float:
        if isinstance(swept, list) and swept:
            numbers = sorted(n for value in swept if (n := _number(value)) > 0)
            here = numbers[len(numbers) // 2] if numbers else swept[0]
        else:
            here = self.variation.given(self.question.vary)
        number = _number(here)
        if number > 0:
            return number
        vary = self.question.vary
        if here is None:
            self.variation.at({vary: 1})  # is there such a key at all?
            raise InputError(f"--vary {vary}: has no value to start from: add --set {vary}=...")
        raise InputError(f"--vary {vary}: {json.dumps(here)} is not a number above 0 to start from")

    def at(self, value: float) -> Loaded:
        """The experiment with that value.

        Raises:
            InputError: It cannot be run.
        """
        if value not in self._loaded:
            written = int(value) if value.is_integer() else value
            self._loaded[value] = self.variation.at({self.question.vary: written})
        return self._loaded[value]


def _number(value: Data) -> float:
    """NaN if it is none."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else float("nan")  # type: ignore[arg-type]
