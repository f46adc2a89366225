"""`python -m benchmarks.terms PROFILE FIGURE.png`: what each term adds to an iteration."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Hybrid, PrefillAttention
from bros_sim.latency.term_parameters import PerSequence
from bros_sim.plots.style import PAGE_IN, PALETTE, new_figure, paper_style, render
from bros_sim.profiles.profile import load_profile
from bros_sim.study.files import replace_file

TERMS = ("tokens(n)", "head", "overhead", "decode attention", "prefill attention")
PANELS: tuple[tuple[str, str, Callable[[int], StepShape], range], ...] = (
    ("prefill", "tokens of one prompt", lambda n: StepShape(((n, 0),), 0, 0), range(64, 4097, 64)),
    (
        "decode",
        "requests of 1,024 KV tokens",
        lambda b: StepShape((), b, 1024 * b),
        range(4, 257, 4),
    ),
    (
        "mixed: 512 prompt tokens beside",
        "decoding requests of 1,024 KV tokens",
        lambda b: StepShape(((512, 0),), b, 1024 * b),
        range(4, 257, 4),
    ),
)


def without(model: Hybrid, term: str) -> Hybrid:
    """The model less one term; `tokens` is what remains when all others are gone."""
    zero = tuple(0.0 for _ in model.decode_attention.batch)
    decode = replace(model.decode_attention, const_ms=zero, per_kv_token_ms=zero)
    changes = {
        "head": {"head": PerSequence()},
        "overhead": {"overhead": PerSequence()},
        "decode attention": {"decode_attention": decode},
        "prefill attention": {"prefill_attention": PrefillAttention()},
    }
    return replace(model, **changes[term])


def parts(model: Hybrid, shape: StepShape) -> list[float]:
    """Milliseconds of each term, in the order of TERMS; they add up to the iteration."""
    whole = model.make().step_s(shape)
    others = [1000 * (whole - without(model, term).make().step_s(shape)) for term in TERMS[1:]]
    return [1000 * whole - sum(others), *others]


def draw(
    axes: Axes, model: Hybrid, panel: tuple[str, str, Callable[[int], StepShape], range]
) -> None:
    """One stack of terms against the size of the iteration."""
    title, label, shape, sizes = panel
    stack = np.array([parts(model, shape(size)) for size in sizes]).T
    axes.stackplot(list(sizes), stack, labels=TERMS, colors=PALETTE[: len(TERMS)], linewidth=0)
    axes.set(title=title, xlabel=label, xlim=(sizes[0], sizes[-1]))


def main() -> None:
    """Write the figure of docs/latency.md."""
    name, target = sys.argv[1:]
    model = load_profile(name).coefficients(Hybrid)
    with paper_style():
        figure = new_figure(PAGE_IN, 2.6)
        for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            draw(axes, model, panel)
        figure.axes[0].set_ylabel("iteration (ms)")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=len(TERMS), loc="outside upper center")
    replace_file(Path(target), render(figure, "png"))


if __name__ == "__main__":
    main()
