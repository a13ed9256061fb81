"""A table as data, its renderings, and the words for axes and settings that all tables share."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from metabench.record.cell import AXES, Cell, problem_text, shape_text
from metabench.report.axes import LINE_TECHNIQUES, TECHNIQUES
from metabench.report.numbers import true_value
from metabench.text import one_line

TERMINAL_CELL = 60  # characters, after which the text of a cell goes on in the next line
TERMINAL_HEADER = 16  # the same of a header, since figures are narrow
MARKDOWN_SPECIAL = re.compile(r"([\\|<*_`~$]|&(?=[#\w])|\](?=[(\[:])|:(?=//)|(?<=www)\.)", re.ASCII)
"""What would not be shown as written: marks, tags and entities, formulas, links. Intervals stay readable."""
NO_TECHNIQUE = "none"


@dataclass(frozen=True)
class Table:
    """What a reader is shown: text only, so that every rendering shows the same."""

    title: str
    says: str
    """One sentence on what the figures are."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    """Ids of the cells that the figures of each row were computed from, baselines included; empty where the table names
    none."""


@dataclass(frozen=True)
class Section:
    """Tables of one kind."""

    title: str
    tables: tuple[Table, ...]


def markdown(table: Table) -> str:
    """GitHub Markdown, ending in a line break. A failure's reason may hold any character: none has a meaning."""
    header, *body = [[escaped(text) for text in line] for line in (table.columns, *table.rows)]
    grid = tabulate(body, headers=header, tablefmt="github", disable_numparse=True)
    parts = [f"### {escaped(table.title)}", escaped(table.says), grid if table.rows else ""]
    parts.append("\n".join(f"- {escaped(note)}" for note in table.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(table: Table) -> str:
    """A table for a terminal."""
    grid = tabulate(
        [[one_line(text) for text in row] for row in table.rows],
        headers=[one_line(text) for text in table.columns],
        tablefmt="simple_outline",
        disable_numparse=True,
        maxcolwidths=TERMINAL_CELL,
        maxheadercolwidths=TERMINAL_HEADER,
    )
    title, says, *notes = map(one_line, (table.title, table.says, *table.notes))
    return "\n".join(part for part in (title, says, grid if table.rows else "", *notes) if part)


def table_json(table: Table) -> dict[str, Any]:
    """A table for programs: texts as they are shown, and beside them their values in seconds, bytes, or plain."""
    return {
        "title": table.title,
        "says": table.says,
        "columns": list(table.columns),
        "rows": [[str(text) for text in row] for row in table.rows],
        "values": [[true_value(text) for text in row] for row in table.rows],
        "cells": [list(ids) for ids in table.cells],
        "notes": list(table.notes),
    }


def escaped(text: str) -> str:
    """One line of Markdown that shows `text` as written."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", one_line(text))


def axis_word(axis: str) -> str:
    """How a reader calls an axis."""
    return AXES[axis].word if axis in AXES else axis.replace("_", " ")


def techniques(cell: Cell, axes: Iterable[str] = TECHNIQUES) -> tuple[str, ...]:
    """The techniques that a cell uses, in words: `first order`, `inner adam`, … Empty for a plain cell."""
    return tuple(AXES[axis].say(cell[axis]) for axis in axes if cell[axis] != AXES[axis].default)


def technique_text(cell: Cell, axes: Iterable[str] = TECHNIQUES) -> str:
    """The techniques of a cell as the text of a column."""
    return ", ".join(techniques(cell, axes)) or NO_TECHNIQUE


def setting(cell: Cell | Mapping[str, Any], axes: Iterable[str], data: Mapping[str, str]) -> str:
    """The values of some axes as a phrase; `data` names the data that each task distribution was built on.

    What goes without saying is left out: techniques that are not used, training tasks of the shape of all others.
    """
    axes = list(axes)
    parts = []
    if "task" in axes:
        task, path = str(cell["task"]), cell.path if isinstance(cell, Cell) else str(cell.get("path", ""))
        name = data.get(problem_text(task, path), task)
        parts.append(name if name == task else f"{name} (task {task})")
        axes = [axis for axis in axes if axis != "path" or path != name]  # the name of a folder is that of its data
    if "ways" in axes and "shots" in axes:
        parts.append(shape_text(cell["ways"], cell["shots"]))
    for axis in axes:
        if axis not in ("task", "ways", "shots") and not _goes_without_saying(axis, cell):
            parts.append(AXES[axis].say(cell[axis]) if axis in AXES else f"{axis_word(axis)} {cell[axis]}")
    return ", ".join(parts)


def _goes_without_saying(axis: str, cell: Cell | Mapping[str, Any]) -> bool:
    """Whether a title need not say the value: a default, or training tasks of the shape of all others."""
    if axis not in AXES:
        return cell[axis] is None
    if axis in ("train_ways", "train_shots"):
        return bool(cell[axis] == cell[axis.removeprefix("train_")])
    tacit = AXES[axis].tacit or axis in LINE_TECHNIQUES
    return tacit and bool(cell[axis] == AXES[axis].default)
