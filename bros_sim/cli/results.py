"""What can be made of a finished run: comparisons, a request's story, figures, a page, a trace."""

from typing import Annotated

from typer import Option

from bros_sim.cli import options
from bros_sim.cli.printing import show
from bros_sim.cli.verbs import say, write
from bros_sim.core.extras import need
from bros_sim.report import compared, figure_files, story
from bros_sim.report.timelines import write_timeline
from bros_sim.study.store import open_results

MetricOption = Annotated[list[str] | None, Option(
    "--metric", metavar="METRIC[CLASS]",
    help="Compare this instead, e.g. `p95_ttft_ms[rt]`; may be repeated.",
)]  # fmt: skip
FigureOption = Annotated[list[str] | None, Option(
    metavar="YAML",
    help="Draw this instead, beside what is there; an entry of `figures`; may be repeated.",
)]  # fmt: skip


def compare(
    results: options.ResultsFolder,
    baseline: Annotated[
        str | None, Option(metavar="SYSTEM", help="What to compare with; the first system.")
    ] = None,
    metrics: MetricOption = None,
    form: options.Form = options.Format.TABLE,
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
    show(compared.compare(results, baseline, metrics or []), form)


def explain(
    results: options.ResultsFolder,
    request: Annotated[
        str, Option(help="Id of the request: STREAM-NUMBER, as in requests.parquet.")
    ],
    point: options.Point = None,
    system: Annotated[str | None, Option(help="Only points of this system.")] = None,
    seed: Annotated[int | None, Option(help="Only points with this seed.")] = None,
    form: options.Form = options.Format.TABLE,
) -> None:
    """Tell what happened to one request, and why: from a run with `outputs: {decisions: true}`.

    Example: `bros-sim explain results/quickstart --request chat-17 --system "vLLM FCFS" --seed 0`
    """
    show(story.explain(results, request, point=point, system=system, seed=seed), form)


def plot(
    results: options.ResultsFolder,
    figure: FigureOption = None,
) -> None:
    """Draw the figures of a finished run again, or any other figure, from its result files.

    What a figure may show: `bros-sim list plots`.

    Examples: `bros-sim plot results/quickstart`

    `bros-sim plot results/quickstart --figure "{plot: latency_cdf, metric: tpot}"`
    """
    drawn = figure_files.plot(results, *(figure or []))
    for line in drawn.warnings:
        say(line)
    for path in drawn.files:
        write(str(path))
    if not (drawn.files or drawn.warnings):
        say(f"{results}: the experiment names no figures; draw one with --figure")


def report(results: options.ResultsFolder) -> None:
    """Write one HTML page about a finished run (`report.html`), to open in any browser, offline.

    It holds the table, attainment curves with their intervals, what real time and best effort
    get, latency CDFs, timelines, saturation verdicts, warnings, provenance and the experiment.
    Needs the extra `report`.

    Example: `bros-sim report results/quickstart`
    """
    found, _ = open_results(results)
    page = need("bros_sim.report.page", "report", "a report needs the extra")
    write(str(page.write_page(found)))


def timeline(
    results: options.ResultsFolder,
    point: options.Point = None,
    window: Annotated[
        str | None, Option(metavar="A:B", help="Only these seconds, e.g. `10:20`, `10:` or `:20`.")
    ] = None,
) -> None:
    """Write one run as a Chrome trace (`timelines/*.json.gz`); open it at ui.perfetto.dev.

    A process for each replica: its iterations (prefill, decode, mixed), KV copies, running and
    waiting requests and KV tokens by class, and a span for each request (queue, prefill, decode).
    A file that would be too large ends early, and a message says where.

    Example: `bros-sim timeline results/quickstart --point 1 --window 60:70`
    """
    path, notes = write_timeline(open_results(results)[0], point, window)
    for note in notes:
        say(note)
    write(str(path))
