"""Step-time noise: a random factor on each iteration, distributed as the residuals of the fit."""

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Factors that are drawn at a time."""
NAME = zlib.crc32(b"step noise")
Floats = NDArray[np.float64]


class StepNoise:
    """Factors on the durations of one replica's iterations: mean 1, independent of each other.

    A factor is what was measured over what the model says, ``1 / (1 + error)``, by the quantiles of
    a fit's signed relative error in percent (``p05``: 5 % of the errors lie below); linear between
    them, none beyond the outermost, divided by their mean, as the bias of the fit is not noise. It
    is a pure function of seed, replica and iteration, so that stretches stay exact.
    """

    def __init__(self, quantiles_pct: Mapping[str, float], seed: int, replica: int) -> None:
        self._curve = _curve(quantiles_pct)
        self._seed = seed
        self._replica = replica
        self._block = -1
        self._drawn: Floats = np.empty(0)

    def factors(self, first: int, count: int) -> Floats:
        """Of the iterations ``first``, ``first + 1``, ...; iterations count from 0."""
        parts = []
        while count > 0:
            block, at = divmod(first, BLOCK)
            part = self._of_block(block)[at : at + count]
            parts.append(part)
            first, count = first + part.size, count - part.size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _of_block(self, block: int) -> Floats:
        if block != self._block:
            sequence = np.random.SeedSequence(self._seed, spawn_key=(NAME, self._replica, block))
            uniform = np.random.default_rng(sequence).random(BLOCK)
            self._block, self._drawn = block, np.interp(uniform, *self._curve)
        return self._drawn


def _curve(quantiles_pct: Mapping[str, float]) -> tuple[Floats, Floats]:
    """Probability against factor, rising; the error of a slow iteration is negative."""
    known = sorted((int(name[1:]) / 100, pct) for name, pct in quantiles_pct.items())
    at = np.array([1.0 - below for below, _ in reversed(known)])
    factor = np.array([1.0 / (1.0 + pct / 100.0) for _, pct in reversed(known)])
    whole = np.array([0.0, *at, 1.0]), np.array([factor[0], *factor, factor[-1]])
    return at, factor / np.trapezoid(whole[1], whole[0])
