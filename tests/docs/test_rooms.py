"""The picture of docs/design.md is drawn from the imports; rooms and sizes stay within limits.

After a change of the rooms: `pytest tests/docs/test_rooms.py --update-golden`.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

from doc_blocks import ROOT

PACKAGE = ROOT / "bros_sim"
MODULES = sorted(PACKAGE.rglob("*.py"))
DESIGN = ROOT / "docs" / "design.md"
PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)


def layers() -> list[list[str]]:
    """The rooms of each layer, top to bottom, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in contracts["contracts"] if c["type"] == "layers")
    return [[room.strip().removeprefix("bros_sim.") for room in layer.split("|")]
            for layer in contract["layers"]]  # fmt: skip


def room(module: Path) -> str:
    """The folder of a module below bros_sim, or its own name at the root."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(module: Path) -> Iterator[str]:
    """The rooms that a module imports from, anywhere in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "bros_sim" and rest:
                yield rest.partition(".")[0]


def arrows() -> list[tuple[str, str]]:
    """Which room imports which, of the rooms of the contract."""
    rooms = set(chain(*layers()))
    found = {(room(module), other) for module in MODULES for other in imported(module)}
    return sorted((a, b) for a, b in found if a != b and {a, b} <= rooms)


def direct(arrows: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What each room imports, without the arrows that others together imply."""
    targets = {name: {b for a, b in arrows if a == name} for name in chain(*layers())}
    reached: dict[str, set[str]] = {}
    for name in reversed(targets):  # bottom to top: what a room imports is known before it
        reached[name] = targets[name].union(*(reached[other] for other in targets[name]))
    return {
        name: [b for b in targets if b in own and not any(b in reached[other] for other in own)]
        for name, own in targets.items()
    }


def picture() -> str:
    """A Mermaid flowchart: a box for each layer, top to bottom, and arrows between the rooms."""
    lines = ["flowchart TB"]
    for number, rooms in enumerate(layers(), 1):
        lines += [
            f'  subgraph layer{number}["{number}"]',
            *(f"    {name}" for name in rooms),
            "  end",
        ]
    for name, targets in direct(arrows()).items():
        if targets:
            lines.append(f"  {name} --> {' & '.join(targets)}")
    return "\n".join(lines) + "\n"


def test_an_arrow_is_left_out_only_where_others_imply_it():
    made = [("cli", "api"), ("cli", "core"), ("cli", "kv"), ("api", "core"), ("kv", "core")]
    assert direct(made)["cli"] == ["api", "kv"]
    assert direct(made)["api"] == direct(made)["kv"] == ["core"]


def test_the_picture_shows_the_rooms_as_they_are(request):
    if request.config.getoption("--update-golden"):
        DESIGN.write_text(PICTURE.sub(lambda _: picture(), DESIGN.read_text()))
    assert PICTURE.search(DESIGN.read_text())[0] == picture()


def test_every_room_is_in_the_contract_once():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    rooms = list(chain(*layers()))
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == folders | {"api"}


def test_few_rooms_on_few_layers():
    assert len(list(chain(*layers()))) <= 25
    assert len(layers()) <= 10


def test_no_arrow_goes_upwards_or_stays_on_its_layer():
    """So there is no circle either."""
    level = {name: number for number, rooms in enumerate(layers()) for name in rooms}
    assert [(a, b) for a, b in arrows() if level[a] >= level[b]] == []


def test_nothing_lies_about_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api"}


# What was over the limits when they were set. Names only ever leave these lists.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
FILE_LINES, FUNCTION_LINES = 320, 60
MEDIAN, P90 = 6, 18


def functions() -> dict[str, int]:
    """The lines of every function and method, from `def` to the end, by file and name."""
    return {
        f"{module.relative_to(ROOT)}:{node.name}:{node.lineno}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_functions_are_short():
    lines = functions()
    long = {name.rpartition(":")[0] for name, count in lines.items() if count > FUNCTION_LINES}
    assert long <= LONG_FUNCTIONS
    assert median(lines.values()) <= MEDIAN
    assert quantiles(lines.values(), n=10)[8] <= P90


def test_files_are_short():
    lines = {path: len(path.read_text().splitlines()) for path in MODULES}
    long = {str(path.relative_to(ROOT)) for path, count in lines.items() if count > FILE_LINES}
    assert long <= LONG_FILES
