"""Sweep files: TOML to cells, with every mistake named."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metabench.errors import UserError, unknown
from metabench.files import read_toml, toml_lines
from metabench.machine.limits import parse_size
from metabench.record.axes import LARGEST_WHOLE, quoted
from metabench.record.cell import AXES, MEASURES, PARTICULAR, USUAL_MEASURES, Cell
from metabench.record.reading import MOST_SWEEP
from metabench.sources import use
from metabench.sweep.builtin import sources_of
from metabench.sweep.filling import Filling, fill, in_words
from metabench.sweep.threads import threads_for
from metabench.sweep.values import SETTABLE, check, check_takers, name_of
from metabench.tasks.base import TASKS
from metabench.text import printable

MOST_CELLS = 20_000
"""Most cells of a sweep, its rounds included: with a process of some seconds each, the work of days."""
OTHER_KEYS = {"grid": {"name", "measure", "include", "exclude"}, "defaults": {"measure"}, "override": {"run"}}
"""What the tables of a sweep file may have beside axes."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
TOP_KEYS = ("title", "run", "defaults", "grid", "override", "only")


@dataclass(frozen=True)
class Settings:
    """How a sweep is run (table `[run]`)."""

    rounds: int = 1
    """Repetitions: processes that time each configuration. Memory and quality are measured in the first one."""
    noise_pairs: int = 5
    """Pairs of processes that time one and the same configuration, for the noise floor; 0: none."""
    time_limit_s: float = 600.0
    """Seconds after which the process of a configuration is ended."""
    checkpoint_s: float = 60.0
    """Seconds between two checkpoints of a training, from which it goes on under `--resume`; 0: none."""
    time_budget_s: float = 2.0
    """Seconds in which one process takes samples of a step."""
    memory_limit: str = ""
    """Memory that a configuration may take beyond what its process holds when all is loaded, such as `2GiB`; empty: as
    much as there is."""
    threads: int = 0
    """Threads of each process. 0: one for small networks; for others what the environment asks for, or one for each
    core that the process may use."""
    side_by_side: int = 1
    """Configurations that run at the same time, of those that measure quality alone. Everything else runs alone."""
    curve_points: int = 10
    """Points of a training curve, each a score on validation tasks; 0: no curve."""
    order_seed: int = 0
    """Seed of the order in which configurations run. Each repetition has an order of its own."""
    stand_in: str = ""
    """Task distribution that takes the place of a data set that is not at hand, such as `glyphs` of Omniglot and
    `emblems` of colour images; empty: that is an error."""


@dataclass(frozen=True)
class Sweep:
    """A validated sweep file."""

    name: str
    title: str
    text: str
    """The file as run, overrides included: it can be run again."""
    settings: Settings
    cells: tuple[Cell, ...]
    filled_in: tuple[str, ...] = ()
    """Sentences on what the file leaves open: its values, and where they come from."""


def load_sweep(
    path: Path,
    overrides: Mapping[str, list[Any]],
    cores: int,
    settings: Mapping[str, Any] = NOTHING,
    only: Mapping[str, list[Any]] = NOTHING,
) -> Sweep:
    """Read a sweep file; `overrides` replace an axis in every grid, `settings` those of `[run]`.

    `only` keeps the cells that have one of its values on each of its axes. From then on, files that names by path stand
    for are looked for in the folder of the sweep. Raises `UserError` for whatever is wrong.
    """
    use(sources_of(path))
    text, document = read_toml(path, MOST_SWEEP, "sweep file")
    override = {**overrides, **({"run": dict(settings)} if settings else {})}
    for key, table in (("override", override), ("only", only)):
        if table and key in document:
            raise UserError(f"'{path.name}' has the table [{key}] already: edit that one")
        if table:
            text = f"{text.rstrip()}\n\n[{key}]\n{toml_lines(table)}"
            document[key] = table
    return parse_sweep(printable(path.stem), document, text, cores)


def parse_sweep(name: str, document: Mapping[str, Any], text: str, cores: int) -> Sweep:
    """The sweep of a parsed document."""
    for key in document:
        if key not in TOP_KEYS:
            raise unknown("table in the sweep file", key, TOP_KEYS)
    defaults = _table(document.get("defaults", {}), "defaults")
    overrides = _table(document.get("override", {}), "override")
    settings = _settings(document.get("run", {}), overrides.get("run", {}))
    override = {axis: values for axis, values in overrides.items() if axis in SETTABLE}
    grids = document.get("grid")
    if isinstance(grids, dict):
        raise UserError("write [[grid]] where the sweep file has [grid]: a sweep may have several")
    if not isinstance(grids, list) or not grids:
        raise UserError("the sweep file has no [[grid]]: add at least one, with its axes")
    spans = [_axes(_table(grid, "grid"), defaults, override) for grid in grids]
    _check_number([settings.rounds * math.prod(map(len, axes.values())) for each in spans for axes in each])
    spanned = [
        found
        for grid in grids
        for found in _grid_cells(_table(grid, "grid"), defaults, override, settings.threads, cores)
    ]
    if not spanned:
        raise UserError("the sweep has no configurations: its excludes leave nothing")
    cells: dict[str, Cell] = {}
    fillings: list[Filling] = []
    only = _listed(_table(document.get("only", {}), "only"))
    for cell, filling in _part(spanned, only):
        key = cell.id
        cells[key] = cells[key].with_measures_of(cell) if key in cells else cell
        fillings.append(filling)
    title = document.get("title", name)
    if not isinstance(title, str):
        raise UserError("'title' in the sweep file must be text")
    _check_text(text)
    changed = {**_listed(override), **only}
    if said := [f"{axis} {', '.join(map(name_of, changed[axis]))}" for axis in changed if axis != "path"]:
        title = f"{title} ({'; '.join(said)})"  # it was chosen for the sweep as its file has it
    return Sweep(name, title, text, settings, tuple(cells.values()), tuple(in_words(fillings)))


def _check_text(text: str) -> None:
    """Refuse what could not be read again from the run folder."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UserError("the sweep has a text with an unpaired surrogate, which no file can hold") from None
    if size > MOST_SWEEP:
        raise UserError(
            f"the sweep takes {size:,} bytes as a file, more than the {MOST_SWEEP:,} that are read: give a grid "
            "several values of an axis in place of many grids"
        )


def _check_number(products: list[int]) -> None:
    """Refuse what would never end, before any of its cells is made."""
    if sum(products) > MOST_CELLS:
        raise UserError(
            f"the sweep spans {sum(products):,} configurations and repetitions, more than the {MOST_CELLS:,} that a "
            "run can have: give its axes fewer values"
        )


def _part(spanned: Sequence[tuple[Cell, Filling]], only: Mapping[str, list[Any]]) -> list[tuple[Cell, Filling]]:
    """The cells that have one of the values of `only` on each of its axes. Refuses a value that no cell has."""
    for axis, values in only.items():
        had = {cell[axis] for cell, _ in spanned}
        for value in values:
            check(axis, value)
            if value not in had:
                there = ", ".join(name_of(each) for each in sorted(had))
                raise UserError(f"the sweep has no configuration with {axis} {name_of(value)} to keep: it has {there}")
    kept = [(cell, filling) for cell, filling in spanned if all(cell[axis] in only[axis] for axis in only)]
    if not kept:
        asked = " and ".join(f"{axis} {', '.join(map(name_of, values))}" for axis, values in only.items())
        raise UserError(f"the sweep has no configuration with {asked} at once: keep more values of one of them")
    return kept


def assignments(texts: Iterable[str], option: str) -> dict[str, list[Any]]:
    """The axes of an option `axis=value[,value…]` that may be given for several axes."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        axis, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"{option} takes axis=value, not '{text}'")
        if axis not in SETTABLE:
            raise _no_axis(axis, SETTABLE)
        if axis in found:
            raise UserError(f"{option} has the axis '{axis}' twice: put commas between its values")
        found[axis] = [_scalar(axis, part) for part in value.split(",")]
    return found


def _scalar(axis: str, text: str) -> Any:
    """The value that a text stands for; the text itself where the axis takes texts."""
    if AXES[axis].kind is str:
        return text
    if text in ("true", "false"):
        return text == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"'{name}' in the sweep file must be a table of axes")
    allowed = SETTABLE | OTHER_KEYS.get(name, set())
    for key in value:
        if key not in allowed:
            raise _no_axis(key, allowed)
    return value


def _no_axis(name: str, valid: Iterable[str]) -> UserError:
    """The error for what is no axis; it says where a sweep file has it, if it is something else of one."""
    if name in {field.name for field in fields(Settings)}:
        return UserError(f"'{name}' is no axis: a sweep file has it under [run]")
    if name == "measure":
        return UserError("'measure' is no axis: a sweep file has it in a [[grid]], or under [defaults]")
    return unknown("axis", name, valid)


def _settings(given: Any, override: Any) -> Settings:
    if not (isinstance(given, dict) and isinstance(override, dict)):
        raise UserError("'run' in the sweep file must be a table of settings")
    table = given | override
    types = {field.name: type(field.default) for field in fields(Settings)}
    for key, value in table.items():
        if key not in types:
            raise unknown("setting in [run]", key, types)
        wanted = types[key]
        good = isinstance(value, (int, float) if wanted is float else wanted) and not isinstance(value, bool)
        if not good or (wanted is not str and not 0 <= value <= LARGEST_WHOLE):
            raise UserError(f"setting '{key}' in [run] must be a {_kind(wanted)}, not {quoted(value)}")
    settings = Settings(**table)
    if settings.rounds < 1:
        raise UserError("setting 'rounds' in [run] must be at least 1")
    if settings.threads > (most := AXES["threads"].most):
        raise UserError(f"setting 'threads' in [run] must be at most {most:,}: no machine has as many")
    if settings.stand_in:
        TASKS.get(settings.stand_in)
    if settings.memory_limit:
        parse_size(settings.memory_limit)
    return settings


def _kind(wanted: type) -> str:
    return {int: "whole number of 0 or more", float: "number of 0 or more", str: "text"}[wanted]


def _grid_cells(
    grid: Mapping[str, Any], defaults: Mapping[str, Any], override: Mapping[str, Any], threads: int, cores: int
) -> Iterator[tuple[Cell, Filling]]:
    measure = _measures(grid.get("measure", defaults.get("measure", list(USUAL_MEASURES))))
    excludes = [_listed(_table(entry, "exclude")) for entry in _entries(grid, "exclude")]
    for axis, values in (pair for exclude in excludes for pair in exclude.items()):
        for value in values:
            check(axis, value)
    for number, axes in enumerate(_axes(grid, defaults, override)):
        models = axes.get("model")

        def chosen(values: Mapping[str, Any], models: list[str] | None = models) -> int:
            return threads or threads_for(values, cores, models or [values["model"]])

        for point in _product(axes):
            cell, filling = fill(point, chosen, measure)
            if number or not any(all(cell[k] in v for k, v in exclude.items()) for exclude in excludes):
                yield cell, filling


def _axes(
    grid: Mapping[str, Any], defaults: Mapping[str, Any], override: Mapping[str, Any]
) -> list[dict[str, list[Any]]]:
    """The values of every axis of a grid, and of each of its includes."""
    given = {k: v for k, v in {**defaults, **grid, **override}.items() if k in SETTABLE}
    if "algorithm" not in given or "task" not in given:
        raise UserError("every grid needs the axes 'algorithm' and 'task'")
    includes = [_table(entry, "include") for entry in _entries(grid, "include")]
    return [_listed(given), *(_listed({**given, **axes, **override}) for axes in includes)]


def _entries(grid: Mapping[str, Any], key: str) -> list[Any]:
    entries = grid.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f"'{key}' must be a list of tables, such as [{{algorithm = \"maml\"}}]")
    return entries


def _listed(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: value if isinstance(value, list) else [value] for key, value in table.items()}


def _product(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for key, values in sorted(axes.items(), key=lambda item: item[0] != "algorithm"):  # which may have presets
        if not values:
            raise UserError(f"axis '{key}' is an empty list")
        for value in values:
            check(key, value)
    for axis in PARTICULAR:
        if axis in axes:
            check_takers(axis, axes[axis], axes["task"])
    for point in itertools.product(*axes.values()):
        yield dict(zip(axes, point, strict=True))


def _measures(value: Any) -> tuple[Any, ...]:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise UserError(f"'measure' is an empty list: name one or more of {', '.join(MEASURES)}")
    for name in names:
        if name not in MEASURES:
            raise unknown("measure", name_of(name), MEASURES)
    return tuple(m for m in MEASURES if m in names)
