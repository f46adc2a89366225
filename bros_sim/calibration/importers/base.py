"""What an importer is: how its format is recognised, and what it makes of its files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bros_sim.calibration.importers.content import Content
from bros_sim.calibration.models import ModelConfig
from bros_sim.calibration.step_rows import StepRow


@dataclass(frozen=True)
class Options:
    """What some formats leave out and the user must say; ``None`` where it was not said."""

    model: ModelConfig | None = None
    tp: int = 1
    batch_size: int | None = None
    input_len: int | None = None
    output_lens: tuple[int, ...] = ()
    max_num_batched_tokens: int = 8192


@dataclass(frozen=True)
class Steps:
    """Measured iterations; ``notes`` say what was left out and what the times do not hold."""

    rows: tuple[StepRow, ...]
    notes: tuple[str, ...] = ()


class RequestRow(NamedTuple):
    """A completed request of a real run, a row of the table that ``bros-sim validate`` replays.

    Times are seconds on the client's clock, from the first request that was sent. What no client
    can know (when the engine queued and scheduled the request, its prefix hashes) has no column.
    """

    request_id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first_token_s: float
    last_token_s: float


@dataclass(frozen=True)
class Run:
    """The requests of one benchmark run. ``failed`` ones are counted, and have no row."""

    label: str
    rows: tuple[RequestRow, ...]
    failed: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runs:
    """All the runs that files hold, in their order."""

    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Format:
    """One format. ``read`` gets all files of the format at once: some belong together."""

    name: str
    title: str
    fits: Callable[[Content], bool]
    read: Callable[[Sequence[Content], Options], Steps | Runs]
