"""Points on the workers of an existing Dask cluster, which share the results folder with us.

Start the scheduler with ``worker-saturation: 1.0`` and ``allowed-failures: 2`` (docs/sweeps.md):
else points that only wait behind one that kills its worker are given up with it. Those that the
cluster gives up all the same run again by themselves; what dies then is to blame.
"""

import re
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from distributed import CancelledError, Client, KilledWorker, as_completed
from distributed.comm import CommClosedError

from bros_sim.core.errors import InputError, RunStopped
from bros_sim.core.version import VERSION
from bros_sim.study.workers import Result, Task

PATIENCE_S = 30.0
"""How long a scheduler may take to answer."""
ADDRESS = re.compile(r"(tcp|tls)://\[?(?P<host>[^\]/]+)\]?:(?P<port>\d{1,5})")


def on_dask(
    run: Callable[[Task], Result], tasks: Sequence[Task], address: str, folder: Path
) -> Generator[tuple[Task, Result | None]]:
    """Run tasks on the workers of a scheduler; None for one that killed its workers."""
    if not tasks:
        return
    _knock(address)
    with Client(address, timeout=PATIENCE_S, set_as_default=False) as client:
        _check(client, address, folder)
        for task in (yield from _run(client, run, tasks)):
            for _ in (yield from _run(client, run, [task])):
                yield task, None


def _check(client: Client, address: str, folder: Path) -> None:
    """Every worker has this version of bros_sim and sees the results folder."""
    token = folder / f".seen-by-{client.id}"
    token.touch()
    try:
        seen = client.run(_sees, str(token), on_error="return")
    finally:
        token.unlink()
    if not seen:
        raise InputError(f"--dask {address}: the cluster has no workers")
    lacking = {worker: _lack(answer, folder) for worker, answer in seen.items()}
    faults = [f"--dask: worker {worker}: {why}" for worker, why in lacking.items() if why]
    if faults:
        raise InputError(*faults)


def _knock(address: str) -> None:
    """A client that finds nobody there takes minutes to give up."""
    found = ADDRESS.fullmatch(address)
    if not found:
        raise InputError(f"--dask {address}: write the scheduler's address as tcp://HOST:PORT")
    try:
        socket.create_connection((found["host"], int(found["port"])), PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--dask {address}: no scheduler answers: {_one_line(error)}") from None


def _run(
    client: Client, run: Callable[[Task], Result], tasks: Sequence[Task]
) -> Generator[tuple[Task, Result | None], None, list[Task]]:
    futures = {client.submit(run, task, pure=False): task for task in tasks}
    given_up = []
    try:
        for future in as_completed(futures, loop=client.loop):
            task = futures[future]
            try:
                result = future.result()
            except KilledWorker:
                given_up.append(task)
                continue
            future.release()
            yield task, result
    except (CancelledError, CommClosedError) as error:
        raise RunStopped(f"the Dask cluster is gone: {_one_line(error)}") from None
    finally:
        client.cancel(list(futures))
    return given_up


def _sees(path: str) -> tuple[str, bool]:
    return VERSION, Path(path).exists()


def _lack(answer: object, folder: Path) -> str:
    if not isinstance(answer, tuple):
        return _one_line(answer)
    version, there = answer
    if version != VERSION:
        return f"has bros-sim {version}, not {VERSION}"
    return "" if there else f"does not see the folder {folder}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
