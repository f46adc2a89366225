"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bros_sim.core.errors import InputError


def keep_source(source: Path, out: Path) -> None:
    """An `InputError` if the file that is read would be written over, by whatever name."""
    if source.exists() and out.exists() and source.samefile(out):
        raise InputError(f"{out}: is the file that is read; write to another")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a draft, renamed to ``path`` if nothing was raised; `InputError` if it cannot be."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
