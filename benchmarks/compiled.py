"""The hot rooms compiled with mypyc, from the same sources: `make compile`.

Copies the package into a folder and compiles the rooms there, which takes a C compiler and two
minutes. The checkout stays plain Python; whoever sets PYTHONPATH to the folder runs the copy.
`--compare` measures a row of `make bench` with it and without, in turns.
"""

import argparse
import os
import re
import shutil
import statistics
from pathlib import Path

from benchmarks import bench

ROOT = Path(__file__).parents[1]
ROOMS = ("engine", "kv", "latency", "schedulers/vllm.py", "schedulers/bros")
"""Folders and files of the package: what runs in every iteration."""
SUBCLASSED = ("EngineState", "Engine", "BaseKV", "PagedKV", "FittedModel", "LineModel",
              "VllmScheduler")  # fmt: skip
"""Compiled classes that plain Python may inherit from."""
ROW = "20k, near saturation"


def sources(package: Path) -> list[Path]:
    """The files to compile; parameters are not among them, as their annotations are data."""
    rooms = [package / room for room in ROOMS]
    files = [f for room in rooms for f in (sorted(room.glob("*.py")) if room.is_dir() else [room])]
    return [f for f in files if not f.name.endswith(("__init__.py", "parameters.py"))]


def build(folder: Path) -> list[Path]:
    """Copy and compile; the files that were compiled."""
    # Imported here, so that the list of files can be had without a way to compile them.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import setup  # noqa: PLC0415

    files = sources(_copy(folder))
    for file in files:
        _open_to_subclasses(file)
    os.chdir(folder)
    names = [str(file.relative_to(folder)) for file in files]
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--strict"]
    extensions = mypycify([*options, *names], opt_level="3", target_dir="c")
    how = ["--quiet", "build_ext", "--inplace", "--build-temp", "o", "--build-lib", "o"]
    setup(name="compiled", ext_modules=extensions, script_args=how)
    if plain := [file for file in files if not list(file.parent.glob(f"{file.stem}.*.so"))]:
        raise SystemExit(f"not compiled: {plain}")
    return files


def _copy(folder: Path) -> Path:
    """The package, copied, and links to the data that stands beside it in a checkout."""
    package = folder / "bros_sim"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "bros_sim", package, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("profiles", "traces", "experiments"):
        (folder / kind).unlink(missing_ok=True)
        (folder / kind).symlink_to(ROOT / kind)
    return package


def _open_to_subclasses(file: Path) -> None:
    """Mark the classes of a copied file that plain Python may inherit from.

    Only in the copy, because mypy_extensions is no dependency of the package.
    """
    wanted = rf"^(?=class ({'|'.join(SUBCLASSED)})\b)"
    mark = "@mypyc_attr(allow_interpreted_subclasses=True)\n"
    text, count = re.subn(wanted, mark, file.read_text(), flags=re.MULTILINE)
    if count:
        head = r"\1from mypy_extensions import mypyc_attr\n"
        file.write_text(re.sub(r'(\A"""(?s:.*?)"""\n)', head, text))


def compare(folder: Path, turns: int) -> None:
    """Print requests/s of a row of `make bench`, plain and compiled in turns, and the ratios."""
    case = next(case for case in bench.CASES if case[0] == ROW)
    ratios = []
    for _ in range(turns):
        rates = []
        for path in (ROOT, folder):
            os.environ["PYTHONPATH"] = str(path)
            run = bench.measure(case, 1)
            rates.append(run["requests"] / run["loop_s"])
        ratios.append(rates[1] / rates[0])
        print(f"{ROW}, loop: plain {rates[0]:,.0f}, compiled {rates[1]:,.0f} requests/s")
    print(
        f"compiled / plain: {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="build/compiled", type=Path)
    parser.add_argument("--compare", metavar="TURNS", type=int, help="measure what is there")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.compare:
        compare(folder, arguments.compare)
        return
    folder.mkdir(parents=True, exist_ok=True)
    files = build(folder)
    print(f"{len(files)} files compiled: those of {', '.join(ROOMS)}")
    print(f"To run them: export PYTHONPATH={folder}")


if __name__ == "__main__":
    main()
