"""Where the data that ships with the package lies: profiles, traces, experiments."""

from pathlib import Path


def data_path(kind: str) -> Path:
    """Folder of the shipped ``kind`` of data; in a source checkout it is beside the package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
