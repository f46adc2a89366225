"""The page: everything that is on it, and the template that puts it there."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bros_sim.plots.spec import axes_of
from bros_sim.plots.style import CLASS_COLOURS, shown
from bros_sim.report import grammar, texts
from bros_sim.report.figures import figures_of
from bros_sim.report.settings import Layout, layout_of
from bros_sim.study.files import replace_file
from bros_sim.study.results import ResultSet, undamaged

MAX_BYTES = 3_000_000
"""The page stays under this, and names what it leaves out."""


def write_page(results: ResultSet) -> Path:
    """Write report.html beside the results.

    Raises:
        InputError: A file of the results is damaged.
    """
    folder = results.folder
    rates = folder / "capacity.csv"
    with undamaged(folder):
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        capacity = pd.read_csv(rates) if rates.is_file() else pd.DataFrame()
        page = render_page(results, provenance, capacity)
    replace_file(folder / "report.html", page)
    return folder / "report.html"


def render_page(results: ResultSet, provenance: Mapping[str, Any], capacity: pd.DataFrame) -> bytes:
    """The page as a file: it needs no other, and the same results give the same bytes.

    Args:
        results: What is shown.
        provenance: provenance.json.
        capacity: capacity.csv; empty if there is none.
    """
    environment = Environment(
        loader=PackageLoader("bros_sim.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    layout, table = layout_of(axes_of(results.points)), results.table()
    groups, rows = figures_of(results, table, layout)
    charts = [chart for group in groups.values() for chart in group]
    plain = [chart.plain() for chart in charts]
    text = environment.get_template("page.html.j2").render(
        **_controls(layout),
        **texts.of_results(results, table, capacity),
        **texts.of_provenance(results, provenance),
        **groups,
        charts=charts,
        data={"data": rows, "charts": plain, "systems": layout.systems, "at": 0},
        css=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        library=Markup(_library()) if charts else "",
    )
    return text.encode()


def _controls(layout: Layout) -> dict[str, object]:
    """What a reader chooses from."""
    numbers = sorted({setting.x for setting in layout.runs()})
    return {
        "systems": list(zip(layout.systems, grammar.colours(layout), strict=True)),
        "choices": layout.choices,
        "class_colours": CLASS_COLOURS,
        "at_title": layout.x_title,
        "at_values": [(n, shown(layout.x_values[n])) for n in numbers],
        "left_out": texts.left_out(layout),
    }


def _resource(name: str) -> str:
    return (files("bros_sim.report") / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", r"<\/script")
