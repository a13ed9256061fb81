"""Sweeps that a program gives: by name, by file, or as axes."""

from collections.abc import Iterable, Mapping, Sequence, Set
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, cast

from metabench.errors import UserError, unknown
from metabench.files import toml_lines
from metabench.record.cell import AXES, Cell
from metabench.sources import path_of, use
from metabench.sweep.builtin import find_sweep
from metabench.sweep.spec import TOP_KEYS, Sweep, load_sweep, parse_sweep
from metabench.sweep.values import SETTABLE

OWN = "own"
"""The name of a sweep that is given as axes."""
Axes: TypeAlias = Mapping[str, Any]
Given: TypeAlias = str | PathLike[str] | Axes | Cell | Sequence[Axes | Cell]
"""A built-in name, a TOML file, axes with one value or several each, a cell, or a list of these; or the tables of a
sweep file as a dictionary."""


class RunSettings(TypedDict, total=False):
    """Settings of a run, as in the table `[run]` of a sweep file."""

    rounds: int
    noise_pairs: int
    time_limit_s: float
    checkpoint_s: float
    time_budget_s: float
    memory_limit: str
    threads: int
    side_by_side: int
    curve_points: int
    order_seed: int
    stand_in: str


def read_given(given: Given, override: Axes, settings: Mapping[str, Any], only: Axes, cores: int) -> Sweep:
    """The sweep, checked; `override` replaces axes in every grid, and `settings` those of `[run]`.

    `only` names values of axes; configurations with other values are left out. Files that names by path stand for are
    looked for in the folder of the sweep file, or in the current one. Raises `UserError` for whatever is wrong, with
    the nearest valid choice.
    """
    override, only = _lists(override), _lists(only)
    settings = {name: _plain(value) for name, value in settings.items()}
    if isinstance(given, (str, PathLike)):
        return load_sweep(find_sweep(fspath(given)), override, cores, settings, only)
    use(Path())
    document = _document(given)
    document["run"] = _of(document.get("run", {}), "run") | settings
    for key, table in (("override", override), ("only", only)):
        if table:
            document[key] = _of(document.get(key, {}), key) | table
    return parse_sweep(OWN, document, _text(document), cores)


def _lists(axes: Axes) -> dict[str, list[Any]]:
    for axis in axes:
        if axis not in SETTABLE:
            raise unknown("axis", str(axis), SETTABLE)
    return {axis: _listed(value) for axis, value in axes.items()}


def _of(table: Any, name: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UserError(f"'{name}' of the sweep must be a dictionary")
    return table


def _document(given: Axes | Cell | Sequence[Axes | Cell]) -> dict[str, Any]:
    """The tables of a sweep file: those that are given, or a grid for each dictionary of axes."""
    if isinstance(given, Mapping) and "grid" in given:
        return cast(dict[str, Any], _plain(given))
    grids = [given] if isinstance(given, (Mapping, Cell)) else given
    if not isinstance(grids, Iterable) or not all(isinstance(grid, (Mapping, Cell)) for grid in grids):
        raise UserError("a sweep is a name, a TOML file, a dictionary of axes, or a list of dictionaries")
    return {"grid": [_axes_of(grid) if isinstance(grid, Cell) else _plain(grid) for grid in grids]}


def _axes_of(cell: Cell) -> dict[str, Any]:
    axes = {name: cell[name] for name, axis in AXES.items() if not (axis.later and cell[name] == axis.default)}
    return axes | {"measure": list(cell.measure)}


def _listed(value: Any) -> list[Any]:
    plain = _plain(value)
    return plain if isinstance(plain, list) else [plain]


def _plain(value: Any) -> Any:
    """The value as TOML has it: ranges, tuples and arrays are lists, a number of NumPy is a number."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, range, Set)):
        return [_plain(part) for part in value]
    return _path(value) if callable(value) else value


def _path(found: object) -> str:
    """The path of a class or a function, by which other processes find it."""
    path = path_of(found)
    if path.startswith("__main__:"):
        raise UserError(
            f"{path.partition(':')[2]} is seen by this process alone: put it into a file beside, and give its path, "
            "as in 'FILE.py:NAME'"
        )
    return path


def _text(document: Mapping[str, Any]) -> str:
    """The sweep file that says the same."""
    lines = []
    for name in (*TOP_KEYS, *(name for name in document if name not in TOP_KEYS)):
        tables = document.get(name)
        if name == "title" and tables is not None:
            lines.append(toml_lines({name: tables}))
        for table in tables if isinstance(tables, list) else [tables] if isinstance(tables, dict) and tables else []:
            head = f"[[{name}]]" if name == "grid" else f"[{name}]"
            lines.append(f"{head}\n{toml_lines(table if isinstance(table, dict) else {})}")
    return "\n".join(lines)
