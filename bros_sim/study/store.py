"""The layout of ``results/<name>``: one folder per point, written beside and renamed into place.

A point's folder appears complete or not at all, so "it is there" means "never run it again":
that is resume. Tables derived from the points (summary.csv) are never the truth.
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bros_sim.core.errors import InputError
from bros_sim.study import files
from bros_sim.study.results import DECISIONS, DRAW, REQUESTS, STEPS, Labels, PointResult, ResultSet

SUMMARY, RESOLVED = "summary.json", "resolved.yaml"
NO_DECISIONS = "no decisions"
"""State of a point that is complete but for the decision log that is now wanted."""


class Store:
    """The folder ``results/<name>``; with ``decisions`` points without a log of them run again."""

    def __init__(self, folder: Path, *, decisions: bool = False) -> None:
        self.folder = folder
        self.points = folder / "points"
        self._failed = folder / "failed"
        self.decisions = decisions

    def open(self) -> None:
        """Make the folder, and `tidy` it; an InputError if it cannot be written to."""
        try:
            self.points.mkdir(parents=True, exist_ok=True)
            probe = self.points / files.partial_name("probe")
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            what = error.strerror or str(error)
            raise InputError(f"{self.folder}: results cannot be written here: {what}") from None
        self.tidy()

    def tidy(self) -> None:
        """Remove what processes that are gone left half-written."""
        for path in self.points.iterdir():
            if files.is_abandoned(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def state(self, key: str) -> str:
        """``missing``, ``complete``, ``no decisions``, or what is wrong with the point's folder."""
        folder = self.points / key
        if not folder.exists():
            return "missing"
        try:
            sizes = _read_summary(folder)["files"]
            for name, size in sizes.items():
                if (folder / name).stat().st_size != size:
                    return f"{name} is not {size} bytes long"
            for name in (REQUESTS, STEPS, *({DECISIONS} & sizes.keys())):
                pq.read_metadata(folder / name)
        except InputError as error:
            return str(error)
        except OSError as error:
            return _unreadable(Path(error.filename or name), error)
        except (AttributeError, TypeError):
            return f"{SUMMARY} does not list the files of a point"
        except (ValueError, pa.ArrowException):
            return f"{name} is not a Parquet file"
        return NO_DECISIONS if self.decisions and DECISIONS not in sizes else "complete"

    def write(
        self,
        key: str,
        tables: Mapping[str, pd.DataFrame],
        summary: Mapping[str, object],
        resolved: str,
    ) -> None:
        """Store one point: all of its files appear at once, the same bytes for the same run."""
        partial = self.points / files.partial_name(key[:16])
        partial.mkdir(parents=True)
        try:
            for name, table in tables.items():
                files.write_parquet(partial / name, table)
            files.write_bytes(partial / RESOLVED, resolved.encode())
            sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
            files.write_bytes(partial / SUMMARY, files.as_json({**summary, "files": sizes}))
            self._move_in(partial, key)
            self._failure(key).unlink(missing_ok=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _move_in(self, partial: Path, key: str) -> None:
        target = self.points / key
        if self.state(key) == "complete":
            return  # another process was faster; its bytes are the same
        self.remove(key)
        files.sync(partial)
        with contextlib.suppress(FileExistsError):
            partial.rename(target)
        files.sync(self.points)

    def remove(self, key: str) -> None:
        """Delete a point, so that it runs again."""
        target = self.points / key
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def _failure(self, key: str) -> Path:
        return self._failed / f"{key}.json"

    def write_failure(self, key: str, error: str, details: str) -> None:
        """Note that a point failed, so that it does not run again unasked; where in the code."""
        self._failed.mkdir(exist_ok=True)
        files.replace_file(self._failure(key), files.as_json({"error": error, "details": details}))

    def failure(self, key: str) -> str | None:
        """The error that `write_failure` noted; None if nothing readable was."""
        try:
            return str(json.loads(self._failure(key).read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def read(self, labels: Labels, key: str, error: str = "") -> PointResult:
        """The stored result of a point, or the row of a failed one."""
        folder = self.points / key
        if error:
            return PointResult(labels, key, folder, error=error)
        try:
            content = _read_summary(folder)
        except InputError as problem:
            raise InputError(f"{folder}: not a complete point: {problem}") from None
        return PointResult(labels, key, folder, content.pop("summary"), content)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table, as ``summary.csv``; without rows remove that of an earlier run."""
        path = self.folder / name
        if table.empty:
            path.unlink(missing_ok=True)
        else:
            files.write_csv(path, table)

    def write_provenance(self, results: ResultSet, **about: object) -> None:
        """Write provenance.json: what made these results, and which folder is which point."""
        points = [
            {"labels": dict(point.labels), "key": point.key, "error": point.error}
            | ({"be_alone": point.baseline} if point.baseline else {})
            for point in [*results.points, *results.drawn]
        ]
        content = {**files.made_by(), **about, "points": points}
        files.replace_file(self.folder / "provenance.json", files.as_json(content))


def write_tables_as_csv(results: ResultSet) -> None:
    """Write the tables of each point that did not fail as CSV beside them, each only once."""
    for point in [*results.points, *results.drawn]:
        for name in (REQUESTS, STEPS, DECISIONS) if not point.error else ():
            path = point.folder / name
            target = path.with_suffix(".csv")
            if path.exists() and not target.exists():
                files.write_csv(target, pd.read_parquet(path))


def opened(results: ResultSet | str | Path) -> ResultSet:
    """Results, or those in a folder."""
    return results if isinstance(results, ResultSet) else open_results(results)[0]


def open_results(folder: str | Path) -> tuple[ResultSet, dict[str, object]]:
    """The results in ``results/<name>`` and the experiment that made them."""
    folder = Path(folder)
    path = folder / "provenance.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        experiment, store = content["experiment"], Store(folder)
        stored = [_stored(store, point) for point in content["points"]]
        drawn = [point for point in stored if DRAW in point.labels]
        points = [point for point in stored if DRAW not in point.labels]
        return ResultSet(str(experiment["name"]), folder, points, drawn), experiment
    except OSError as error:
        what = "is this the folder results/<name> of a finished run?"
        raise InputError(f"{path}: cannot be read: {error.strerror}; {what}") from None
    except KeyError as error:
        raise InputError(f"{path}: is damaged: it has no {error}") from None
    except TypeError:
        raise InputError(f"{path}: is damaged: its parts are not what a run writes") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged: not JSON: {error}") from None


def _stored(store: Store, point: Mapping[str, Any]) -> PointResult:
    result = store.read(point["labels"], point["key"], point["error"])
    baseline = point.get("be_alone")
    return result.beside(store.read(point["labels"], baseline)) if baseline else result


def _read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a point; an InputError says what is wrong with it, without the folder."""
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(_unreadable(folder / SUMMARY, error)) from None
    except ValueError:
        raise InputError(f"{SUMMARY} is not JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"{SUMMARY} is not a mapping")
    lacking = [key for key in ("summary", "files") if key not in content]
    if lacking:
        raise InputError(f"{SUMMARY} has no '{lacking[0]}'")
    return content


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path.name} is missing"
    return f"{path.name} cannot be read: {error.strerror or error}"
