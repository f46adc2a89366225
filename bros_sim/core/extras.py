"""Modules that an extra of the package brings: imported when they are needed, and not before."""

import importlib
from typing import Any

from bros_sim.core.errors import InputError


def need(module: str, extra: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Import a module that needs an extra.

    Args:
        module: Its full name.
        extra: The extra that brings what it imports.
        what: What needs it, as the message begins: ``tune needs the extra``.

    Raises:
        InputError: The extra is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what}: pip install 'bros-sim[{extra}]' ({error})") from None
