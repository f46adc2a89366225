"""Links over which KV travels."""


class Link:
    """One direction of a link: transfers queue on it, first come, first served."""

    def __init__(self) -> None:
        self._free_s = 0.0

    def transfer(self, now: float, seconds: float) -> float:
        """When a transfer that is asked for at ``now``, and takes so long, is over."""
        self._free_s = max(now, self._free_s) + seconds
        return self._free_s
