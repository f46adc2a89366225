"""``report``: one HTML page about a finished run."""

from bros_sim.cli.options import ResultsFolder
from bros_sim.cli.output import write
from bros_sim.core.extras import need
from bros_sim.study.store import open_results


def report(results: ResultsFolder) -> None:
    """Write one HTML page about a finished run (`report.html`), to open in any browser, offline.

    It holds the table, attainment curves with their intervals, what real time and best effort
    get, latency CDFs, timelines, saturation verdicts, warnings, provenance and the experiment.
    Needs the extra `report`.

    Example: `bros-sim report results/quickstart`
    """
    found, _ = open_results(results)
    page = need("bros_sim.report.page", "report", "a report needs the extra")
    write(str(page.write_page(found)))
