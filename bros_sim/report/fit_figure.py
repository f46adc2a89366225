"""The figure of ``profile fit --plot``: how far the fit is from each measured step."""

from pathlib import Path
from typing import Literal, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bros_sim.calibration.fit import Fit, error_pct
from bros_sim.calibration.step_rows import KINDS, kinds_of
from bros_sim.core.atomic import written
from bros_sim.core.labels import counted
from bros_sim.plots import style

FITTED = "#bbbbbb"
HEIGHT_IN = 2.3


def draw(fit: Fit, title: str, path: Path) -> None:
    """One panel for each kind of iteration: error against measured time, held-out rows in colour.

    Raises:
        InputError: The file cannot be written.
    """
    with style.paper_style():
        figure = _figure(fit, title)
    kind = cast("Literal['png', 'svg', 'pdf']", path.suffix.lower()[1:])
    content = style.render(figure, kind)
    with written(path) as draft:
        draft.write_bytes(content)


def _figure(fit: Fit, title: str) -> Figure:
    every = set(kinds_of(fit.fitted)) | set(kinds_of(fit.held_out))
    kinds = [kind for kind in KINDS if kind in every]
    figure, axes = style.panels(kinds, HEIGHT_IN)
    for panel, kind, colour in zip(axes, kinds, style.PALETTE, strict=False):
        _panel(panel, fit, kind, colour)
    style.label_axes(axes, "measured step (ms)", "fit - measured (%)")
    rows = counted(len(fit.fitted), "row")
    note = f"{fit.form}; grey: the {rows} of the fit; colour: {len(fit.held_out)} held out"
    return style.finish(figure, title, note)


def _panel(panel: Axes, fit: Fit, kind: str, colour: str) -> None:
    for steps, shade, size in ((fit.fitted, FITTED, 5), (fit.held_out, colour, 8)):
        rows = steps[kinds_of(steps) == kind]
        if len(rows):
            errors = error_pct(fit.model, rows)
            panel.scatter(1e3 * rows["time_s"], errors, color=shade, s=size, linewidths=0)
    panel.axhline(0, color="#555555", linewidth=0.6, zorder=0)
    panel.set_xscale("log")
