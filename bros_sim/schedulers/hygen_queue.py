"""HyGen's queue: online requests by arrival, then offline ones by shared prefixes and by age."""

from collections.abc import Hashable, Iterator

from bros_sim.core.request import ServiceClass
from bros_sim.engine.sequence import SequenceView
from bros_sim.schedulers.queues import Rank, RankedQueue


class PrefixQueue(RankedQueue):
    """Offline requests in the order of a depth-first walk through the tree of their prefixes.

    Branches are visited in order of their first request, so without shared prefixes the order is
    that of arrival. Of the offline requests taken out a ``fairness`` share is the oldest one.
    """

    def __init__(self, fairness: float) -> None:
        super().__init__()
        self._fairness = fairness
        self._by_prefix = RankedQueue()
        self._by_age = RankedQueue()
        self._offline: dict[int, SequenceView] = {}
        """Who waits; in the two queues there are also some who do not any more."""
        self._new: list[SequenceView] = []
        self._numbers: dict[Hashable, int] = {}
        self._branches = 0
        self._places: dict[int, tuple[int, ...]] = {}
        self._taken = 0

    def __len__(self) -> int:
        return super().__len__() + len(self._offline) + len(self._new)

    def __iter__(self) -> Iterator[SequenceView]:
        """Requests in the order of service; offline ones that just came last."""
        yield from super().__iter__()
        yield from self._offline_in_order()
        yield from self._new

    def push(self, seq: SequenceView, rank: Rank) -> None:
        """Add a request; an offline one takes its place with the next `sort_in`."""
        if seq.service_class is ServiceClass.RT:
            super().push(seq, rank)
        else:
            self._new.append(seq)

    def pop(self) -> SequenceView:
        """Take the first request out."""
        if super().__len__():
            return super().pop()
        seq = next(self._offline_in_order())
        self._taken += 1
        del self._offline[seq.id]
        for queue in (self._by_prefix, self._by_age):
            while len(queue) and next(iter(queue)).id not in self._offline:
                queue.pop()
        return seq

    # -- offline --------------------------------------------------------------------------------

    def sort_in(self, block_size: int) -> None:
        """Give those that just came their places."""
        for seq in self._new:
            if seq.id not in self._places:
                numbers = tuple(map(self._number, seq.block_keys(block_size)))
                self._places[seq.id] = numbers or (self._branch(),)
            self._offline[seq.id] = seq
            self._by_prefix.push(seq, self._places[seq.id])
            self._by_age.push(seq, ())
        self._new = []

    def place(self, seq: SequenceView) -> tuple[int, ...]:
        """Where the request is in the tree; () before it has been sorted in."""
        return self._places.get(seq.id, ())

    def forget(self, seq: SequenceView) -> None:
        """The request is gone for good."""
        self._places.pop(seq.id, None)

    def _number(self, key: Hashable) -> int:
        """Prefixes are numbered as they come."""
        if key not in self._numbers:
            self._numbers[key] = self._branch()
        return self._numbers[key]

    def _branch(self) -> int:
        self._branches += 1
        return self._branches

    def _offline_in_order(self) -> Iterator[SequenceView]:
        seen: set[int] = set()
        by_prefix, by_age = iter(self._by_prefix), iter(self._by_age)
        for taken in range(self._taken, self._taken + len(self._offline)):
            oldest = int((taken + 1) * self._fairness) > int(taken * self._fairness)
            order = by_age if oldest else by_prefix
            seq = next(x for x in order if x.id in self._offline and x.id not in seen)
            seen.add(seq.id)
            yield seq
