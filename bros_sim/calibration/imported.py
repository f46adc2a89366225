"""Result files of other programs -> one canonical table of iterations or requests."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bros_sim.calibration.csv_files import require_csv
from bros_sim.calibration.importers import Options, Run, Runs, Steps, import_files
from bros_sim.calibration.request_rows import write_requests
from bros_sim.calibration.step_rows import write_steps
from bros_sim.core.atomic import keep_source
from bros_sim.core.errors import InputError


def import_table(
    files: Sequence[Path], out: Path, options: Options, run: int | None
) -> Iterator[str]:
    """Write the table that the files hold; ``run``: which, where they hold several runs.

    Yields:
        Lines about what was read, written and left out.

    Raises:
        InputError: A file cannot be read or has no known format, the run is not clear, or nothing
            is left to write.
    """
    require_csv(out)
    for path in files:
        keep_source(path, out)
    form, found = import_files(files, options)
    if run is not None and not isinstance(found, Runs):
        raise InputError(f"--run: the files hold iterations ({form.title}), no runs of requests")
    if isinstance(found, Runs):
        chosen = _chosen(found, run)
        what, notes = _write_requests(chosen, out), chosen.notes
    else:
        what, notes = _write_steps(found, out), found.notes
    yield f"{out} written from {form.title}: {what}"
    yield from (f"  {note}" for note in notes)


def _chosen(found: Runs, number: int | None) -> Run:
    runs = found.runs
    if number is None and len(runs) == 1:
        return runs[0]
    if number is None or number > len(runs):
        listed = (f"  {n}: {run.label}, {len(run.rows)} completed" for n, run in enumerate(runs, 1))
        raise InputError(f"--run: say which one of {len(runs)} runs:", *listed)
    return runs[number - 1]


def _write_requests(run: Run, out: Path) -> str:
    if not run.rows:
        raise InputError(f"{out}: not written: no request of the run ({run.label}) completed")
    write_requests(run.rows, out)
    return f"{len(run.rows)} requests completed, {run.failed} failed (no row)"


def _write_steps(steps: Steps, out: Path) -> str:
    if not steps.rows:
        raise InputError(f"{out}: not written: the files hold no usable iteration", *steps.notes)
    write_steps(steps.rows, out)
    prefill = sum(row.prefill_tokens > 0 and not row.decode_jobs for row in steps.rows)
    decode = sum(not row.prefill_tokens for row in steps.rows)
    mixed = len(steps.rows) - prefill - decode
    return f"{len(steps.rows)} iterations ({prefill} prefill, {decode} decode, {mixed} mixed)"
