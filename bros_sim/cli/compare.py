"""``compare``: the systems of a finished run against one of them, seed by seed."""

from typing import Annotated

import typer

from bros_sim import api
from bros_sim.cli.options import Format, FormatOption, ResultsFolder
from bros_sim.cli.printing import show


def compare(
    results: ResultsFolder,
    baseline: Annotated[
        str | None, typer.Option(metavar="SYSTEM", help="What to compare with; the first system.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC[CLASS]",
            help="Compare this instead, e.g. `p95_ttft_ms[rt]`; may be repeated.",
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare the systems of a finished run: differences over the same seeds, and a verdict.

    All systems get the same arrivals, so what chance gives to one it gives to the other, and the
    difference within a seed says more than two means. Each has a 95 % t interval and the chances
    of a t and a Wilcoxon test. Below: the requests that changed most, and what all of this
    supports, in words.

    Examples:
    `bros-sim compare results/quickstart --baseline "vLLM FCFS"`

    `bros-sim compare results/quickstart --metric p95_ttft_ms[rt] --format json`
    """
    show(api.compare(results, baseline, metrics or []), form)
