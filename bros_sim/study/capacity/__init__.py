"""The search for a capacity: the highest load, or the fewest replicas, that keep targets."""

from bros_sim.study.capacity.search import Cell, find
from bros_sim.study.capacity.tables import answers, evaluations
from bros_sim.study.capacity.variants import Question, Variants

__all__ = ["Cell", "Question", "Variants", "answers", "evaluations", "find"]
