"""bros_sim: which scheduler lets interactive and batch LLM requests share the same GPUs?

``import bros_sim as bs`` and `bs.load`, `bs.run`, `bs.sweep`: docs/api.md.
"""

import importlib
from typing import TYPE_CHECKING

from bros_sim.core import version

if TYPE_CHECKING:
    from bros_sim.api import *  # noqa: F403 - the names of __all__

__version__ = version.VERSION

__all__ = [  # noqa: F405
    "Capacity", "Comparison", "Drawn", "Experiment", "Explanation", "InputError", "Place", "Point",
    "Results", "Run", "Tuned", "Validation",
    "capacity", "compare", "explain", "load", "loads", "means", "plot", "read_results", "run",
    "sweep", "tune", "validate",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import what lies behind the public names when it is first used: `--help` needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'bros_sim' has no attribute '{name}'")
    return getattr(importlib.import_module("bros_sim.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
