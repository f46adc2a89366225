"""Modules that an extra of the package brings: imported when they are needed, and not before."""

import importlib
from typing import Any

from bros_sim.core.errors import InputError


def need(module: str, extra: str, what: str) -> Any:  # noqa: ANN401 - a module
    """A module by its full name; `InputError` if ``what`` needs the ``extra`` and it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what}: pip install 'bros-sim[{extra}]' ({error})") from None
