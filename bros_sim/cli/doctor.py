"""``doctor``: what is installed, what is not, and what is lost without it."""

import importlib
import re
import sys
from importlib import metadata

from typer import Exit

from bros_sim.cli.verbs import FAILED, write
from bros_sim.core.data_files import data_path
from bros_sim.core.version import VERSION
from bros_sim.profiles.profile import profile_ids

PURPOSE = {
    "cluster": "`bros-sim run --dask`: sweeps on many machines",
    "explore": "`marimo run notebooks/explore.py`: results of a sweep to click through",
    "gpu": "`bros-sim profile measure`: step times of your GPU",
    "opt": "`bros-sim tune`: the best parameters of a system",
    "report": "`bros-sim report`: one HTML page about a run",
}
"""What each extra is for."""
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*(;.*extra == ['\"](?P<extra>\w+)['\"])?")


def doctor() -> None:
    """Say what is installed and what is not; code 1 if something that is needed is missing.

    Example: `bros-sim doctor`
    """
    wanted = _wanted()
    core = {name: _version(name) for name in wanted.pop("")}
    facts = [("bros-sim", f"{VERSION}, Python {sys.version.split()[0]}")]
    facts += [(name, found or "MISSING: pip install bros-sim") for name, found in core.items()]
    facts += [(f"[{extra}]", _extra(extra, wanted[extra])) for extra in sorted(wanted)]
    facts += [("GPU", _gpu()), ("profiles", f"{len(profile_ids())} in {data_path('profiles')}")]
    facts += [(what, str(data_path(what))) for what in ("traces", "experiments")]
    width = max(len(name) for name, _ in facts)
    write("\n".join(f"{name:{width}}  {what}" for name, what in facts))
    if not all(core.values()):
        raise Exit(FAILED)


def _wanted() -> dict[str, list[str]]:
    """Extra -> its packages; those of "" are always needed."""
    found: dict[str, list[str]] = {"": []}
    for line in metadata.requires("bros-sim") or []:
        if match := REQUIREMENT.fullmatch(line):
            found.setdefault(match["extra"] or "", []).append(match["name"])
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extra(extra: str, packages: list[str]) -> str:
    found = {name: _version(name) for name in packages}
    listed = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    if all(found.values()):
        return listed
    what = listed if any(found.values()) else "not installed"
    return f"{what}: pip install 'bros-sim[{extra}]' ({PURPOSE[extra]})"


def _gpu() -> str:
    use = "only `bros-sim profile measure` uses one"
    if _version("torch") is None:
        return f"not looked for: needs [gpu]; {use}"
    cuda = importlib.import_module("torch").cuda
    return str(cuda.get_device_name()) if cuda.is_available() else f"none; {use}"
