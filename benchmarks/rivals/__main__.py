"""`python -m benchmarks.rivals RESULTS DOCUMENT`: run what is missing, write the document."""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from benchmarks.paired import where
from benchmarks.rivals.evidence import read_places
from benchmarks.rivals.figures import front_figure
from benchmarks.rivals.places import LOADS, PLACES, Place
from benchmarks.rivals.report import document
from bros_sim.plots.style import paper_style, render
from bros_sim.study.files import replace_file
from bros_sim.study.results import ResultSet
from bros_sim.study.store import open_results

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "rivals.yaml"


def main() -> None:
    """Run every place into RESULTS, write DOCUMENT and figures/rivals-*.png beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("document", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="a change at all places"
    )
    parser.add_argument(
        "--place", action="append", choices=[p.name for p in PLACES], help="this place alone"
    )
    arguments = parser.parse_args()
    results: Path = arguments.results
    places = [p for p in PLACES if not arguments.place or p.name in arguments.place]
    for place in places:
        run(place, results, arguments.set)
    table = read_places(results, places)
    opened = [open_results(results / place.settings["name"]) for place in places]
    slos = [slo(experiment) for _, experiment in opened]
    text = document(table, places, slos, mirrors([found for found, _ in opened]))
    draw(table, places, arguments.document.parent / "figures")
    replace_file(arguments.document, text.encode())


def run(place: Place, results: Path, changes: list[str]) -> None:
    """Run the points of a place that are not there yet; changes asked for come last."""
    settings = [*(f"{path}={value}" for path, value in place.settings.items()), *changes]
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "bros_sim", "run", str(EXPERIMENT), "--out", str(results)]
    print(f"{place.title}", file=sys.stderr, flush=True)
    done = subprocess.run([*command, *options], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)


def slo(experiment: dict[str, object]) -> str:
    """The RT SLO of a run, in words."""
    chat = experiment["workload"]["chat"]["slo"]  # type: ignore[index]
    return f"{chat['ttft_s']:g} s, {chat['tpot_s']:g} s"


def mirrors(results: list[ResultSet]) -> dict[str, str]:
    """System -> what it mirrors."""
    points = [point for found in results for point in found.points]
    return {str(point.labels["system"]): str(point.facts["mirrors"]) for point in points}


def draw(table: pd.DataFrame, places: list[Place], folder: Path) -> None:
    """The figures: all places near saturation, and in overload."""
    folder.mkdir(parents=True, exist_ok=True)
    for load in LOADS[1:]:
        with paper_style():
            figure = front_figure(where(table, load=load), places, load.capitalize())
        replace_file(folder / f"rivals-{load.replace(' ', '-')}.png", render(figure, "png"))


if __name__ == "__main__":
    main()
