"""``list`` and ``schema``: what may stand in an experiment."""

import json
import sys
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    from collections.abc import Mapping


TWINS = "shipped twins (arrivals of kind: twin, lengths of kind: empirical)"
FORMATS = "trace formats that are read, told by their header (path: FILE)"


class What(StrEnum):
    """What can be listed."""

    SCHEDULERS = "schedulers"
    KV = "kv"
    ROUTERS = "routers"
    ARRIVALS = "arrivals"
    LENGTHS = "lengths"
    MAX_TOKENS = "max_tokens"
    LATENCY = "latency"
    METRICS = "metrics"
    PLOTS = "plots"
    PROFILES = "profiles"
    TRACES = "traces"


def list_kinds(
    what: Annotated[What | None, typer.Argument(help="What to list; all of it by default.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List what an experiment can be made of: kinds, their parameters, defaults and meaning.

    Example: `bros-sim list schedulers`
    """
    found = {item.value: _entries(item) for item in ([what] if what else What)}
    if form is Format.JSON:
        sys.stdout.write(json.dumps(found, indent=1, default=str) + "\n")
        return
    for title, entries in found.items():
        if what is None:
            sys.stdout.write(f"{title.upper()}\n\n")
        for group, members in groupby(entries, key=lambda entry: entry.get("group")):
            if group:
                sys.stdout.write(f"{group}:\n")
            for entry in members:
                _print_entry(entry)
            if group:
                sys.stdout.write("\n")


def schema() -> None:
    """Print the JSON schema of an experiment file, for completion in editors.

    Example: `bros-sim schema > experiment.schema.json`, and as first line of an experiment
    `# yaml-language-server: $schema=experiment.schema.json`
    """
    from bros_sim.experiment.schema import json_schema
    from bros_sim.plots import PLOTS

    sys.stdout.write(json.dumps(json_schema(PLOTS), indent=1) + "\n")


def _entries(what: What) -> list[dict[str, object]]:
    named = {
        What.METRICS: _metrics,
        What.PLOTS: _plots,
        What.PROFILES: _profiles,
        What.TRACES: _traces,
    }
    return named[what]() if what in named else _components(what)


def _components(what: What) -> list[dict[str, object]]:
    from bros_sim.experiment.schema import TABLES

    table = TABLES[what.value]
    return [_component(kind, cls) for kind, cls in table.items()]


def _metrics() -> list[dict[str, object]]:
    from bros_sim.metrics.catalogue import METRICS

    return [{"name": name, "help": f"{m.doc} [{m.unit}]"} for name, m in METRICS.items()]


def _plots() -> list[dict[str, object]]:
    from bros_sim.plots import PLOTS

    return [_component(name, cls) for name, cls in PLOTS.items()]


def _profiles() -> list[dict[str, object]]:
    from bros_sim.profiles.profile import profile_ids

    return [{"name": name} for name in profile_ids()]


def _traces() -> list[dict[str, object]]:
    from bros_sim.workload import TRACES
    from bros_sim.workload.twin_file import load_twin
    from bros_sim.workload.twins import twin_paths

    twins: list[dict[str, object]] = [
        {"name": name, "help": load_twin(path).describes, "group": TWINS}
        for name, path in twin_paths().items()
    ]
    formats: list[dict[str, object]] = [
        {"name": name, "help": reader.title, "group": FORMATS} for name, reader in TRACES.items()
    ]
    return [*twins, *formats]


def _component(kind: str, cls: type) -> dict[str, object]:
    from bros_sim.config.parameters import parameters
    from bros_sim.core.world import Parameters

    entry: dict[str, object] = {"name": kind, "help": _first_line(cls)}
    if issubclass(cls, Parameters) and (mirrors := cls.__new__(cls).mirrors):  # by its defaults
        entry |= {"mirrors": mirrors, "fidelity": cls.fidelity}
    entry["parameters"] = [
        {
            "name": p.name,
            "type": p.type,
            "default": p.default,
            "help": p.help,
        }
        for p in parameters(cls)
    ]
    return entry


def _first_line(item: object) -> str:
    return (item.__doc__ or "").strip().partition("\n")[0].replace("``", "`")


def _print_entry(entry: "Mapping[str, object]") -> None:
    help_text = entry.get("help")
    sys.stdout.write(f"{entry['name']}{f': {help_text}' if help_text else ''}\n")
    if "mirrors" in entry:
        sys.stdout.write(f"    mirrors {entry['mirrors']} [{entry['fidelity']}]\n")
    for item in entry.get("parameters", []):  # type: ignore[attr-defined]
        default = "" if item["default"] == "required" else f" = {item['default']}"
        meaning = f"  {item['help']}" if item["help"] else ""
        sys.stdout.write(f"    {item['name']}: {item['type']}{default}{meaning}\n")
    if "parameters" in entry:
        sys.stdout.write("\n")
