"""A table as data, its renderings, and the words for axes and settings that all tables share."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from metabench.report.numbers import true_value
from metabench.text import one_line

TERMINAL_CELL = 60  # characters, after which the text of a cell goes on in the next line
MARKDOWN_SPECIAL = re.compile(r"([\\|<*_`~$]|&(?=[#\w])|\](?=[(\[:])|:(?=//)|(?<=www)\.)", re.ASCII)
"""What would not be shown as written: marks, tags and entities, formulas, links. Intervals stay readable."""
PARTIAL = " ‡"
PARTIAL_NOTE = "‡ Some rounds or seeds failed: see the rows that are not ok."
AXIS_WORDS = {"inner_steps": "inner steps", "meta_batch": "meta-batch", "inner_lr": "inner lr", "outer_lr": "outer lr"}
PLAIN: Mapping[str, Any] = {
    "first_order": 0.0,
    "checkpoint": False,
    "inner_optimizer": "sgd",
    "precision": "float32",
    "outer_clip": 0.0,
}
"""The axes that are techniques, with their values where no technique is used; old runs do not have them all."""
TECHNIQUE_AXES = tuple(PLAIN)
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
    """For each row the ids of the cells that its figures were computed from, those it is held against included; empty
    where the table names none."""


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
    """The same for a terminal."""
    grid = tabulate(
        [[one_line(text) for text in row] for row in table.rows],
        headers=[one_line(text) for text in table.columns],
        tablefmt="simple_outline",
        disable_numparse=True,
        maxcolwidths=TERMINAL_CELL,
    )
    title, says, *notes = map(one_line, (table.title, table.says, *table.notes))
    return "\n".join(part for part in (title, says, grid if table.rows else "", *notes) if part)


def table_json(table: Table) -> dict[str, Any]:
    """The same for programs: texts as they are shown, and beside them their values in seconds, bytes, or plain."""
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
    return AXIS_WORDS.get(axis, axis.replace("_", " "))


def techniques(cell: Mapping[str, Any], axes: Iterable[str] = TECHNIQUE_AXES) -> tuple[str, ...]:
    """The techniques that a cell uses, in words: `first order`, `inner adam`, … Empty for a plain cell."""
    return tuple(_technique(axis, cell[axis]) for axis in axes if cell.get(axis, PLAIN[axis]) != PLAIN[axis])


def technique_text(cell: Mapping[str, Any], axes: Iterable[str] = TECHNIQUE_AXES) -> str:
    """The same as the text of a column."""
    return ", ".join(techniques(cell, axes)) or NO_TECHNIQUE


def _technique(axis: str, value: Any) -> str:
    if axis == "first_order":
        return "first order" if value == 1 else f"first order for {100 * value:g} % of the iterations"
    if axis == "checkpoint":
        return "checkpointed inner loop"
    words = {"inner_optimizer": "inner {}", "precision": "{}", "outer_clip": "clip {:g}"}
    return words[axis].format(value)


def setting(cell: Mapping[str, Any], axes: Iterable[str], data: Mapping[str, str]) -> str:
    """The values of some axes as a phrase; `data` names the data that each task distribution was built on.

    What goes without saying is left out: techniques that are not used, training tasks of the shape of all others.
    """
    axes = list(axes)
    parts = []
    if "task" in axes:
        name = data.get(cell["task"], cell["task"])
        parts.append(name if name == cell["task"] else f"{name} (task {cell['task']})")
    if "ways" in axes and "shots" in axes:
        shape = f"{cell['ways']}-way {cell['shots']}-shot" if cell["ways"] > 1 else f"{cell['shots']} points"
        parts.append(shape)
    for axis in axes:
        if axis in ("task", "ways", "shots") or axis not in cell or cell[axis] == _usual(axis, cell):
            continue
        if axis in TECHNIQUE_AXES and axis != "precision":
            parts.append(_technique(axis, cell[axis]))
            continue
        words = {"model": "{}", "engine": "engine {}", "device": "{}", "precision": "{}", "threads": "threads {}"}
        words |= {"world_size": "{} processes", "machine": "on {}"}
        parts.append(words.get(axis, axis_word(axis) + " {}").format(cell[axis]))
    return ", ".join(parts)


def _usual(axis: str, cell: Mapping[str, Any]) -> Any:
    """The value that need not be said; None where every value is said."""
    if axis in ("train_ways", "train_shots"):
        return cell[axis.removeprefix("train_")]
    usual = {**PLAIN, "batch_norm": "transductive", "outer_warmup": 0}
    return None if axis == "precision" else usual.get(axis)


def without_empty_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], droppable: Iterable[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Leave out those droppable columns in which nothing stands."""
    drop = set(droppable)
    kept = [i for i, name in enumerate(columns) if name not in drop or any(row[i] not in ("", "–") for row in rows)]
    return tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)
