"""The figures of a run. Each is a function in a module of this package that gives a frame and how it is drawn.

A new figure is a new module with a function under `@shown`, and no edit anywhere else.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from metabench.errors import unknown
from metabench.files import replace_file
from metabench.report.figures.base import FORMATS, Figure, image
from metabench.report.results import Run, read_run

Maker: TypeAlias = Callable[[Run], Figure | None]
_MAKERS: list[tuple[int, Maker]] = []


def shown(place: int) -> Callable[[Maker], Maker]:
    """Decorator of a function that makes a figure, or None for a run that has nothing for it; lower places go first."""

    def add(make: Maker) -> Maker:
        _MAKERS.append((place, make))
        return make

    return add


def figures(run: Run) -> list[Figure]:
    """All that the run has something for, in the order in which they are shown."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return [figure for _, make in sorted(_MAKERS, key=lambda entry: entry[0]) if (figure := make(run))]


def write_figure(folder: Path, name: str, file: Path) -> None:
    """Write one figure of a run folder to a file of that format: `.svg`, `.png` or `.pdf`.

    Raises `UserError` for a run that cannot be read or has no such figure, and for another format.
    """
    found = {figure.name: figure for figure in figures(read_run(folder))}
    if name not in found:
        raise unknown("figure", name, found)
    kind = file.suffix.removeprefix(".")
    if kind not in (*FORMATS, "pdf"):
        raise unknown("format", kind, (*FORMATS, "pdf"))
    replace_file(file, image(found[name], kind))
