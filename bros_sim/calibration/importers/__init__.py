"""FORMATS: the result files that ``profile import`` reads, recognised by their content.

To add one: a module with a function that recognises the format and one that reads it, and a line
here. A format reads all its files at once, because some files belong together.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from bros_sim.calibration.checked_json import refuse
from bros_sim.calibration.importers.aiperf import is_aiperf, read_aiperf
from bros_sim.calibration.importers.base import Format, Options, Run, Runs, Steps
from bros_sim.calibration.importers.content import Content, read_content
from bros_sim.calibration.importers.guidellm import is_guidellm, read_guidellm
from bros_sim.calibration.importers.layers import is_layer_table, read_layers
from bros_sim.calibration.importers.vllm_forward import is_forward, read_forward
from bros_sim.calibration.importers.vllm_latency import is_latency, is_latency_record, read_latency
from bros_sim.calibration.importers.vllm_serve import is_serve, read_serve
from bros_sim.core.errors import Fault, InputError

__all__ = ["FORMATS", "Format", "Options", "Run", "Runs", "Steps", "import_files"]


def _is_any_latency(content: Content) -> bool:
    return is_latency(content) or is_latency_record(content)


_FORMATS = (
    Format("vllm-forward", "vllm bench forward", is_forward, read_forward),
    Format("vllm-latency", "vllm bench latency", _is_any_latency, read_latency),
    Format("vllm-serve", "vllm bench serve", is_serve, read_serve),
    Format("guidellm", "GuideLLM benchmarks.json", is_guidellm, read_guidellm),
    Format("aiperf", "AIPerf profile_export.jsonl", is_aiperf, read_aiperf),
    Format("layers", "layer tables (CSV)", is_layer_table, read_layers),
)
FORMATS = {form.name: form for form in _FORMATS}

CLOCK_S = 1e-6
"""Seconds since 1970 as a float are no finer than a quarter of this."""
SUMMARIES: dict[str, Callable[[Content], bool]] = {
    "AIPerf's summary: import profile_export.jsonl, which is beside it": lambda content: (
        content.has("request_latency", "input_config")
    ),
    "the summary of vllm bench throughput, which says nothing of iterations or requests": (
        lambda content: content.has("elapsed_time", "num_requests", "tokens_per_second")
    ),
}
"""Files that users will try, and that hold neither iterations nor requests."""


def import_files(paths: Sequence[Path], options: Options) -> tuple[Format, Steps | Runs]:
    """What some result files of one format hold.

    Raises:
        InputError: A file cannot be read, has no known format, or is invalid; or the files are
            of several formats.
    """
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
    form = FORMATS[name]
    result = form.read(contents, options)
    if isinstance(result, Runs):
        _check_order(result, str(contents[0].path))
    return form, result


def _check_order(found: Runs, place: str) -> None:
    """A request arrives, then has its first token, then its last; else the file is damaged."""
    faults = [
        f"{place}: {row.request_id}: tokens before it arrives, or the last before the first"
        for run in found.runs
        for row in run.rows
        if not row.arrival_s <= row.first_token_s + CLOCK_S <= row.last_token_s + 2 * CLOCK_S
    ]
    refuse(place, faults)


def _format_of(content: Content) -> Format:
    for form in _FORMATS:
        if form.fits(content):
            return form
    for what, fits in SUMMARIES.items():
        if fits(content):
            raise InputError(f"{content.path}: is {what}")
    known = ", ".join(form.title for form in _FORMATS)
    raise InputError(f"{content.path}: has no known format (known: {known})")
