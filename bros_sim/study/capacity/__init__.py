"""Capacity by search: which points to run, through the store, until every system has its answer.

What to run next is decided in ``metrics/search.py``, what came of it in ``metrics/answer.py``.
"""

from bros_sim.study.capacity.search import Cell, find
from bros_sim.study.capacity.tables import answers, evaluations
from bros_sim.study.capacity.variants import Question, Variants

__all__ = ["Cell", "Question", "Variants", "answers", "evaluations", "find"]
