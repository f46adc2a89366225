"""FORMATS: the result files that ``profile import`` reads, recognised by their content.

To add one: a module that recognises and reads it (all its files at once), and a line here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bros_sim.calibration.files import refuse, require_csv, write_csv
from bros_sim.calibration.importers.aiperf import is_aiperf, read_aiperf
from bros_sim.calibration.importers.base import (
    Content,
    Format,
    Options,
    RequestRow,
    Run,
    Runs,
    Steps,
    read_content,
)
from bros_sim.calibration.importers.guidellm import is_guidellm, read_guidellm
from bros_sim.calibration.importers.layers import is_layer_table, read_layers
from bros_sim.calibration.importers.vllm_forward import is_forward, read_forward
from bros_sim.calibration.importers.vllm_latency import is_any_latency, read_latency
from bros_sim.calibration.importers.vllm_serve import is_serve, read_serve
from bros_sim.calibration.step_rows import write_steps
from bros_sim.core.atomic import keep_source
from bros_sim.core.errors import Fault, InputError

_FORMATS = (
    Format("vllm-forward", "vllm bench forward", is_forward, read_forward),
    Format("vllm-latency", "vllm bench latency", is_any_latency, read_latency),
    Format("vllm-serve", "vllm bench serve", is_serve, read_serve),
    Format("guidellm", "GuideLLM benchmarks.json", is_guidellm, read_guidellm),
    Format("aiperf", "AIPerf profile_export.jsonl", is_aiperf, read_aiperf),
    Format("layers", "layer tables (CSV)", is_layer_table, read_layers),
)
__all__ = ["FORMATS", "Options", "import_files", "import_table"]
FORMATS = {form.name: form for form in _FORMATS}

CLOCK_S = 1e-6  # seconds since 1970 as a float are no finer than a quarter of this
AIPERF_SUMMARY, THROUGHPUT_SUMMARY = (
    "AIPerf's summary: import profile_export.jsonl, which is beside it",
    "the summary of vllm bench throughput, which says nothing of iterations or requests",
)
SUMMARIES = {
    ("request_latency", "input_config"): AIPERF_SUMMARY,
    ("elapsed_time", "num_requests", "tokens_per_second"): THROUGHPUT_SUMMARY,
}
"""Keys of files that users will try and that hold neither iterations nor requests -> what it is."""


def import_table(
    files: Sequence[Path], out: Path, options: Options, run: int | None
) -> Iterator[str]:
    """Write the table that the files hold (of several runs: ``run``); lines about what was read."""
    require_csv(out)
    for path in files:
        keep_source(path, out)
    form, found = import_files(files, options)
    if not isinstance(found, Steps):
        chosen = _chosen(found, run)
        what, notes = _write_requests(chosen, out), chosen.notes
    elif run is not None:
        raise InputError(f"--run: the files hold iterations ({form.title}), no runs of requests")
    else:
        what, notes = _write_steps(found, out), found.notes
    yield f"{out} written from {form.title}: {what}"
    yield from (f"  {note}" for note in notes)


def import_files(paths: Sequence[Path], options: Options) -> tuple[Format, Steps | Runs]:
    """What some result files of one format hold; `InputError` with the faults of all of them."""
    found: dict[str, list[Content]] = {}
    faults: list[Fault | str] = []
    for path in paths:
        try:
            content = read_content(path)
            found.setdefault(_format_of(content).name, []).append(content)
        except InputError as error:
            faults += error.faults
    if len(found) > 1:
        names = ", ".join(f"{files[0].path} is {name}" for name, files in found.items())
        faults.append(f"the files are of several formats, import one after the other: {names}")
    if faults:
        raise InputError(*faults)
    ((name, contents),) = found.items()
    result = FORMATS[name].read(contents, options)
    if not isinstance(result, Steps):
        _check_order(result, str(contents[0].path))
    return FORMATS[name], result


def _format_of(content: Content) -> Format:
    for form in _FORMATS:
        if form.fits(content):
            return form
    for keys, what in SUMMARIES.items():
        if content.has(*keys):
            raise InputError(f"{content.path}: is {what}")
    known = ", ".join(form.title for form in _FORMATS)
    raise InputError(f"{content.path}: has no known format (known: {known})")


def _check_order(found: Runs, place: str) -> None:
    """A request arrives, then has its first token, then its last; else the file is damaged."""
    faults = [
        f"{place}: {row.request_id}: tokens before it arrives, or the last before the first"
        for run in found
        for row in run.rows
        if not row.arrival_s <= row.first_token_s + CLOCK_S <= row.last_token_s + 2 * CLOCK_S
    ]
    refuse(place, faults)


def _chosen(runs: Sequence[Run], number: int | None) -> Run:
    if number is None and len(runs) == 1:
        return runs[0]
    if number is None or number > len(runs):
        listed = (f"  {n}: {run.label}, {len(run.rows)} completed" for n, run in enumerate(runs, 1))
        raise InputError(f"--run: say which one of {len(runs)} runs:", *listed)
    return runs[number - 1]


def _write_requests(run: Run, out: Path) -> str:
    if not run.rows:
        raise InputError(f"{out}: not written: no request of the run ({run.label}) completed")
    by_arrival: list[RequestRow] = sorted(run.rows, key=lambda row: row.arrival_s)
    write_csv(RequestRow._fields, by_arrival, out)
    return f"{len(run.rows)} requests completed, {run.failed} failed (no row)"


def _write_steps(steps: Steps, out: Path) -> str:
    if not steps.rows:
        raise InputError(f"{out}: not written: the files hold no usable iteration", *steps.notes)
    write_steps(steps.rows, out)
    prefill = sum(row.prefill_tokens > 0 and not row.decode_jobs for row in steps.rows)
    decode = sum(not row.prefill_tokens for row in steps.rows)
    mixed = len(steps.rows) - prefill - decode
    return f"{len(steps.rows)} iterations ({prefill} prefill, {decode} decode, {mixed} mixed)"
