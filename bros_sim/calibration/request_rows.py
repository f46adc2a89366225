"""The canonical table of the requests of a real run, which ``bros-sim validate`` replays."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bros_sim.calibration.csv_files import write_csv


class RequestRow(NamedTuple):
    """One completed request; the fields are the columns of the table, in this order.

    Times are seconds on the client's clock, from the first request that was sent. What no client
    can know (when the engine queued and scheduled the request, its prefix hashes) has no column.
    """

    request_id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first_token_s: float
    last_token_s: float


def write_requests(rows: Sequence[RequestRow], path: Path) -> None:
    """Write the requests of a run as CSV, by arrival, whole or not at all.

    Raises:
        InputError: The name does not end in .csv or .csv.gz, or the file cannot be written.
    """
    by_arrival: list[RequestRow] = sorted(rows, key=lambda row: row.arrival_s)
    write_csv(RequestRow._fields, by_arrival, path)
