"""Files that appear whole or not at all, whoever else writes to the same folder."""

import json
import math
import os
import platform
import re
import socket
import sys
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PARTIAL = ".partial-"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that nobody ever sees half of it."""
    partial = path.with_name(partial_name(path.name))
    try:
        write_bytes(partial, content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(name: str) -> str:
    """What a file or folder is called while this process writes it."""
    return f"{PARTIAL}{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:8]}-{name}"


def is_abandoned(name: str) -> bool:
    """Whether it is half-written, by a process of this machine that is gone."""
    mine = re.escape(f"{PARTIAL}{socket.gethostname()}~")
    found = re.fullmatch(rf"{mine}(\d+)~[^~]*", name)
    try:
        os.kill(int(found[1]) if found else os.getpid(), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def made_by() -> dict[str, object]:
    """The command line, the software and the machine: what provenance files begin with."""
    names = ("bros-sim", "simpy", "numpy", "pandas", "scipy", "pyarrow", "pydantic", "matplotlib")
    software = {"python": platform.python_version(), **{name: _version(name) for name in names}}
    return {"command": sys.argv, "software": software, "platform": platform.platform()}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def as_json(content: object) -> bytes:
    """JSON text; what is undefined is ``null``."""
    return (json.dumps(_finite(content), indent=1, allow_nan=False) + "\n").encode()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Numbers are written in full, so that they read back as they were."""
    replace_file(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Without pandas' own metadata: nothing in the file but the data and its types."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    with path.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Write the names in a folder through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
