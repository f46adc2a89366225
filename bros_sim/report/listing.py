"""What an experiment can be made of: kinds, their parameters, metrics, plots, profiles, traces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from bros_sim.config.parameters import parameters
from bros_sim.core.world import Parameters
from bros_sim.experiment.schema import TABLES
from bros_sim.metrics.catalogue import METRICS
from bros_sim.plots import PLOTS
from bros_sim.profiles.profile import profile_ids
from bros_sim.report.tables import Printed
from bros_sim.workload import TRACES
from bros_sim.workload.twins import load_twin, twin_paths

TWINS = "shipped twins (arrivals of kind: twin, lengths of kind: empirical)"
FORMATS = "trace formats that are read, recognised by their header (path: FILE)"


What = StrEnum(
    "What",
    ["SCHEDULERS", "KV", "ROUTERS", "ARRIVALS", "LENGTHS", "MAX_TOKENS", "LATENCY", "METRICS",
     "PLOTS", "PROFILES", "TRACES"],
)  # fmt: skip
"""What can be listed."""
Entry = Mapping[str, object]


@dataclass(frozen=True)
class Listing(Printed):
    """What there is, by title; ``titled``: whether the titles are printed."""

    entries: Mapping[str, Sequence[Entry]]
    titled: bool

    def parts(self) -> Iterator[str]:
        for title, entries in self.entries.items():
            if self.titled:
                yield f"{title.upper()}\n"
            for group, members in groupby(entries, key=lambda entry: entry.get("group")):
                if group:
                    yield f"{group}:"
                for entry in members:
                    yield from _lines(entry)
                if group:
                    yield ""

    def plain(self) -> Mapping[str, Sequence[Entry]]:
        return self.entries


def listing(what: What | None) -> Listing:
    """What there is of one sort, or of all."""
    return Listing({item.value: _entries(item) for item in ([what] if what else What)}, not what)


def _entries(what: What) -> list[Entry]:
    if what is What.METRICS:
        return [{"name": name, "help": f"{m.doc} [{m.unit}]"} for name, m in METRICS.items()]
    if what is What.PROFILES:
        return [{"name": name} for name in profile_ids()]
    if what is What.TRACES:
        twins = {name: load_twin(path).describes for name, path in twin_paths().items()}
        known = {TWINS: twins, FORMATS: {name: reader.title for name, reader in TRACES.items()}}
        return [
            {"name": name, "help": text, "group": group}
            for group, members in known.items()
            for name, text in members.items()
        ]
    kinds = PLOTS if what is What.PLOTS else TABLES[what.value]
    return [_component(kind, cls) for kind, cls in kinds.items()]


def _component(kind: str, cls: type) -> Entry:
    first_line = (cls.__doc__ or "").strip().partition("\n")[0].replace("``", "`")
    entry: dict[str, object] = {"name": kind, "help": first_line}
    if issubclass(cls, Parameters) and (mirrors := cls.__new__(cls).mirrors):  # by its defaults
        entry |= {"mirrors": mirrors, "fidelity": cls.fidelity}
    return entry | {"parameters": [parameter._asdict() for parameter in parameters(cls)]}


def _lines(entry: Entry) -> Iterator[str]:
    help_text = entry.get("help")
    yield f"{entry['name']}{f': {help_text}' if help_text else ''}"
    if "mirrors" in entry:
        yield f"    mirrors {entry['mirrors']} [{entry['fidelity']}]"
    for item in entry.get("parameters", []):  # type: ignore[attr-defined]
        default = "" if item["default"] == "required" else f" = {item['default']}"
        meaning = f"  {item['help']}" if item["help"] else ""
        yield f"    {item['name']}: {item['type']}{default}{meaning}"
    if "parameters" in entry:
        yield ""
