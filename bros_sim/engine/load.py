"""What an engine answers to those who route to it."""

from dataclasses import dataclass
from enum import Enum


class Refusal(Enum):
    """Why an engine does not take a request."""

    NEVER_FITS = "never fits"
    """Its KV is more than the engine has, or it is longer than the model allows."""
    TURNED_AWAY = "turned away"
    """The policy does not take it."""


@dataclass(frozen=True)
class Load:
    """An engine at one instant; pairs are real-time and best-effort."""

    waiting: tuple[int, int]
    """Requests that wait."""
    running: tuple[int, int]
    """Requests that run."""
    kv_tokens: tuple[int, int]
    """Tokens in the cache of those that run, a shared prefix counted for each of them."""
    free_tokens: int
    """KV slots that nobody holds."""
    waiting_tokens: int
    """Known tokens of the requests that wait."""
    outstanding_tokens: int
    """Prompt and ``max_tokens`` of all unfinished requests."""
