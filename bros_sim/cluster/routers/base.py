"""Contract of the routers: which engine takes a request, and whether it takes it at once."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from bros_sim.core.request import Request
from bros_sim.core.world import Parameters, World
from bros_sim.engine.sequence import SequenceView


class EngineLoad(Protocol):
    """What a router may know of an engine."""

    @property
    def outstanding_tokens(self) -> int:
        """Prompt and ``max_tokens`` of all its unfinished requests."""

    @property
    def waiting_tokens(self) -> int:
        """Known tokens of the requests that it has and does not run; not in a stretch's middle."""

    @property
    def free_tokens(self) -> int:
        """KV slots that nobody holds; not to be read in the middle of a stretch."""


class Router(Protocol):
    """Chooses an engine for every arrival. One router serves one run."""

    def route(self, request: Request, engines: Mapping[int, EngineLoad]) -> int:
        """Number of the engine that takes the request, one of ``engines``."""


@runtime_checkable
class HoldingRouter(Router, Protocol):
    """A router that keeps requests until their engine has room for them.

    ``route`` says in whose queue a request waits. An engine pulls when one of its iterations ends,
    and when a request joins the queue of an engine that computes nothing. Iterations may pass in
    stretches: as long as nobody arrives or finishes, the answer to `pull` may turn from a request
    to None, never from None to a request (law L11).
    """

    def hold(self, seq: SequenceView, engine: int) -> None:
        """Keep a request that was routed to ``engine``."""

    def pull(self, engine: int, load: EngineLoad, now: float) -> SequenceView | None:
        """The request that ``engine`` takes now, which leaves its queue; None: no further one."""


class RouterParameters(Parameters):
    """Base of the routers' parameters: frozen dataclasses whose fields are the YAML's keys."""

    def make(self, world: World) -> Router:
        """The router of one run."""
        raise NotImplementedError
