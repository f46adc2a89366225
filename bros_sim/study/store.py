"""The layout of ``results/<name>``: one folder per point, written beside and renamed into place.

A point's folder appears complete or not at all, so "it is there" means "never run it again":
that is resume. Tables derived from the points (summary.csv) are never the truth.
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bros_sim.core.errors import InputError
from bros_sim.study.files import (
    as_json,
    is_abandoned,
    made_by,
    partial_name,
    replace_file,
    sync,
    write_bytes,
    write_parquet,
)
from bros_sim.study.results import (
    DECISIONS,
    DRAW,
    ENGINES,
    REQUESTS,
    STEPS,
    Labels,
    PointResult,
    ResultSet,
    Summary,
)

SUMMARY, RESOLVED = "summary.json", "resolved.yaml"
NO_DECISIONS = "no decisions"
"""State of a point that is complete but for the decision log that is now wanted."""


@dataclass(frozen=True)
class Content:
    """What is stored of one point."""

    requests: pd.DataFrame
    steps: pd.DataFrame
    engines: pd.DataFrame
    summary: Summary
    facts: Mapping[str, str]
    resolved: str
    decisions: pd.DataFrame | None = None


@dataclass(frozen=True)
class Failure:
    """Why a point failed, in one line, and where in the code."""

    error: str
    details: str


class Store:
    """The folder ``results/<name>`` of one experiment.

    ``decisions``: whether points are to have a decision log; one without it then runs again.
    """

    def __init__(self, folder: Path, *, decisions: bool = False) -> None:
        self.folder = folder
        self.points = folder / "points"
        self._failed = folder / "failed"
        self.decisions = decisions

    def open(self) -> None:
        """Make the folder, and `tidy` it.

        Raises:
            InputError: It cannot be a folder or cannot be written to.
        """
        try:
            self.points.mkdir(parents=True, exist_ok=True)
            probe = self.points / partial_name("probe")
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            what = error.strerror or str(error)
            raise InputError(f"{self.folder}: results cannot be written here: {what}") from None
        self.tidy()

    def tidy(self) -> None:
        """Remove what processes that are gone left half-written."""
        for path in self.points.iterdir():
            if is_abandoned(path.name):
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

    def write(self, key: str, content: Content) -> None:
        """Store one point: all of its files appear at once, the same bytes for the same run."""
        partial = self.points / partial_name(key[:16])
        partial.mkdir(parents=True)
        try:
            write_parquet(partial / REQUESTS, content.requests)
            write_parquet(partial / STEPS, content.steps)
            if content.decisions is not None:
                write_parquet(partial / DECISIONS, content.decisions)
            write_bytes(partial / RESOLVED, content.resolved.encode())
            files = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
            engines = content.engines.to_dict("records")
            summary = {"summary": content.summary, ENGINES: engines, "files": files}
            write_bytes(partial / SUMMARY, as_json({**content.facts, **summary}))
            self._move_in(partial, key)
            self._failure(key).unlink(missing_ok=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _move_in(self, partial: Path, key: str) -> None:
        target = self.points / key
        if self.state(key) == "complete":
            return  # another process was faster; its bytes are the same
        if target.exists():
            self.remove(key)
        sync(partial)
        with contextlib.suppress(FileExistsError):
            partial.rename(target)
        sync(self.points)

    def remove(self, key: str) -> None:
        """Delete a point, so that it runs again."""
        target = self.points / key
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def _failure(self, key: str) -> Path:
        return self._failed / f"{key}.json"

    def write_failure(self, key: str, failure: Failure) -> None:
        """Note that a point failed, so that it does not run again unasked."""
        self._failed.mkdir(exist_ok=True)
        replace_file(self._failure(key), as_json(asdict(failure)))

    def failure(self, key: str) -> Failure | None:
        """What `write_failure` noted; None if nothing readable was."""
        try:
            return Failure(**json.loads(self._failure(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
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

    def write_summary(self, results: ResultSet) -> None:
        """Write summary.csv."""
        text = results.summary().to_csv(index=False, lineterminator="\n")
        replace_file(self.folder / "summary.csv", text.encode())

    def write_tables_as_csv(self, results: ResultSet) -> None:
        """Write the tables of each point that did not fail as CSV beside them, each only once.

        Numbers are written in full, so that they read back as they were.
        """
        for point in [*results.points, *results.drawn]:
            files = point.facts.get("files", ()) if not point.error else ()
            for name in sorted({REQUESTS, STEPS, DECISIONS}.intersection(files)):  # type: ignore[arg-type]
                path = point.folder / name
                target = path.with_suffix(".csv")
                if not target.exists():
                    text = pd.read_parquet(path).to_csv(index=False, lineterminator="\n")
                    replace_file(target, text.encode())

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one more table, as ``capacity.csv``; without rows remove that of an earlier run."""
        path = self.folder / name
        if table.empty:
            path.unlink(missing_ok=True)
        else:
            replace_file(path, table.to_csv(index=False, lineterminator="\n").encode())

    def write_provenance(
        self, experiment: object, results: ResultSet, inputs: object, streams: object
    ) -> None:
        """Write provenance.json: what made these results, and which folder is which point.

        ``inputs`` are the files behind the points, ``streams`` what was changed in the workload.
        """
        points = [
            {"labels": dict(point.labels), "key": point.key, "error": point.error}
            | ({"be_alone": point.baseline} if point.baseline else {})
            for point in [*results.points, *results.drawn]
        ]
        content = {
            **made_by(),
            "inputs": inputs,
            "streams": streams,
            "experiment": experiment,
            "points": points,
        }
        replace_file(self.folder / "provenance.json", as_json(content))


def opened(results: ResultSet | str | Path) -> ResultSet:
    """Results, or those in a folder.

    Raises:
        InputError: It is not the folder of a finished run.
    """
    return results if isinstance(results, ResultSet) else open_results(results)[0]


def open_results(folder: str | Path) -> tuple[ResultSet, dict[str, object]]:
    """The results in ``results/<name>`` and the experiment that made them.

    Raises:
        InputError: It is not the folder of a finished run.
    """
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
    """A point of provenance.json, with what was measured against another run."""
    result = store.read(point["labels"], point["key"], point["error"])
    baseline = point.get("be_alone")
    return result.beside(store.read(point["labels"], baseline)) if baseline else result


def _read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a point.

    Raises:
        InputError: It is missing or no such file: what is wrong, without the folder.
    """
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
