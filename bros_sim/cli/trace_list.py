"""``trace list``: the shipped twins."""

from bros_sim.cli.options import Format, FormatOption
from bros_sim.cli.printing import show
from bros_sim.report.traces import shipped_twins


def list_traces(form: FormatOption = Format.TABLE) -> None:
    """List the shipped twins: what they describe, its licence and its statistics.

    Example: `bros-sim trace list`
    """
    show(shipped_twins(), form)
