"""The best values of some parameters: which to try, and their results.

What to try next is Optuna's choice (``sampler.py``, the extra ``opt``), what counts as best ours.
"""

from bros_sim.study.tuning.search import Answer, Judged, Question, find
from bros_sim.study.tuning.space import Choice, Range, Setting, read_parameter
from bros_sim.study.tuning.tables import answers, trials_table

__all__ = [
    "Answer", "Choice", "Judged", "Question", "Range", "Setting",
    "answers", "find", "read_parameter", "trials_table",
]  # fmt: skip
