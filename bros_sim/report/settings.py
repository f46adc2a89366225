"""How a sweep is laid out on the page: one path along the x axes, a choice for each other one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from bros_sim.core.labels import short_names
from bros_sim.plots.spec import Axes
from bros_sim.plots.style import path_label, shown

MAX_RUNS = 40  # systems x settings whose latency CDFs and timelines the page holds
MAX_ROWS = 1_500  # systems x settings that the curves hold
LOAD = ".arrivals.rate_rps"


@dataclass(frozen=True)
class Setting:
    """One value of each sweep path; ``x`` is a position among values, ``cell`` several: ``0,2``."""

    labels: Mapping[str, object]
    x: int
    cell: str


@dataclass(frozen=True)
class Layout:
    """The sweep paths with more than one value: ``x`` (``numeric``: of numbers), and others."""

    axes: Axes
    x: str | None
    others: Sequence[str]
    numeric: bool

    @property
    def systems(self) -> list[str]:
        """Their names, in order."""
        return [str(name) for name in self.axes["system"]]

    @property
    def keys(self) -> list[str]:
        """The columns that tell the curves' points apart."""
        return ["system", *self.others, *([self.x] if self.x else [])]

    @property
    def x_values(self) -> Sequence[object]:
        """The values along x; a single empty one without a sweep."""
        return self.axes[self.x] if self.x else [""]

    @property
    def x_title(self) -> str:
        """What the x axis is called."""
        return path_label(self.x) if self.x else ""

    @property
    def choices(self) -> list[tuple[str, list[str]]]:
        """Short name and values of each path that has a choice of its own."""
        names = short_names(self.axes)
        return [(names[path], [shown(v) for v in self.axes[path]]) for path in self.others]

    @property
    def most_settings(self) -> int:
        """How many settings the curves can hold."""
        return max(1, MAX_ROWS // len(self.systems))

    def settings(self) -> Iterator[Setting]:
        """Every setting of the grid; x varies fastest."""
        for picks in product(*(range(len(self.axes[path])) for path in self.others)):
            chosen = {p: self.axes[p][n] for p, n in zip(self.others, picks, strict=True)}
            for number, value in enumerate(self.x_values):
                labels = {**chosen, self.x: value} if self.x else chosen
                yield Setting(labels, number, ",".join(map(str, picks)))

    def runs(self) -> list[Setting]:
        """The settings whose runs the page can hold: all, or as many evenly spread ones."""
        every = list(self.settings())
        most = max(1, MAX_RUNS // len(self.systems))
        if len(every) <= most:
            return every
        return [every[round(n * (len(every) - 1) / max(1, most - 1))] for n in range(most)]


def layout_of(axes: Axes) -> Layout:
    """A swept load goes along x; else the first path of numbers, else the first path."""
    swept = [n for n, values in axes.items() if n not in {"system", "seed"} and len(values) > 1]
    by_rank = sorted(swept, key=lambda path: (not path.endswith(LOAD), not _numeric(axes[path])))
    x = by_rank[0] if by_rank else None
    others = [path for path in swept if path != x]
    return Layout(axes, x, others, x is not None and _numeric(axes[x]))


def _numeric(values: Sequence[object]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
