"""`python -m benchmarks.paper RESULTS DOCUMENT`: document and figures from result folders."""

import argparse
from pathlib import Path

from benchmarks.paired import read, where
from benchmarks.paper.evidence import read_main
from benchmarks.paper.figures import load_figure
from benchmarks.paper.report import document
from benchmarks.paper.stated import MODELS
from bros_sim.plots.style import paper_style, render
from bros_sim.study.files import replace_file


def main() -> None:
    """Read RESULTS/paper-*, write DOCUMENT and figures/paper-*.png beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("document", type=Path)
    arguments = parser.parse_args()
    results: Path = arguments.results
    table = read_main(results)
    ablation, pure_rt = read(results / "paper-ablation"), read(results / "paper-pure-rt")
    text = document(table, ablation, pure_rt)
    folder = arguments.document.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for model, title in MODELS.items():
        with paper_style():
            figure = load_figure(where(table, model=model), title)
        replace_file(folder / f"paper-{model}.png", render(figure, "png"))
    replace_file(arguments.document, text.encode())


if __name__ == "__main__":
    main()
