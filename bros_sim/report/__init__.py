"""One self-contained HTML page about the results of an experiment."""

from bros_sim.report.page import MAX_BYTES, render_page

__all__ = ["MAX_BYTES", "render_page"]
