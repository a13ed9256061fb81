"""Where the data of a task distribution lies, by what the user says."""

import os
from pathlib import Path

from metabench import sources
from metabench.files import expanded


def at(path: str) -> Path:
    """The place of a path that a sweep names: from its folder, or on the command line from the current one."""
    return sources.folder() / expanded(path)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder by their names, without hidden ones. Raises OSError where it cannot be read."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def all_data(data_dir: Path | None) -> Path | None:
    """The folder of all data: `data_dir`, or else the one that METABENCH_DATA names; None where neither is given."""
    named = data_dir or os.environ.get("METABENCH_DATA")
    return expanded(named) if named else None


def given(path: str, data_dir: Path | None) -> Path | None:
    """The folder of a data set: the place of `path`, or else the folder of all data."""
    return at(path) if path else all_data(data_dir)
