"""Keeps the tables of documents equal to those of the runs they quote: `python tools/quote_tables.py FILE…`.

A document quotes rows of a table between two comments:

    <!-- from results/MACHINE/RUN/tables.md: TITLE OF THE TABLE -->
    | algorithm | …
    <!-- end -->

The title may be left out where the rows say which table it is. The header says which columns are quoted, and what
stands in the labelling columns says which rows; everything else is written anew. Below the rows stand the notes of the
letters, such as (a), that mark a figure in them.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from metabench.errors import UserError, unknown
from metabench.files import MEBIBYTE, read_text, replace_file
from metabench.record.cell import AXES
from metabench.report.render.tables import axis_word

MOST_BYTES = 16 * MEBIBYTE
LABELS = frozenset(
    {axis_word(axis) for axis in AXES if axis not in ("iterations", "seed")}
    | {"technique", "peer", "id", "claim", "claims that", "implementation"}
    | {"processes", "devices", "tasks", "scaling", "what breaks", "quantity"}
)
"""Columns whose text says which row it is."""
BLOCK = re.compile(r"<!-- from (\S+?)(?:: ([^\n]*?))? -->\n(.*?)<!-- end -->", re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)")
LETTER_NOTE = re.compile(r"- (\((?:[a-z]|\d+)\)) ")
_CELL_END = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Grid:
    """A table of Markdown: its lines as written, and their cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    """The line of the header, and the rule below it."""
    lines: tuple[str, ...]
    """Lines of the rows."""
    notes: tuple[str, ...] = ()
    """Lines of the notes that say what a letter means."""


def refreshed(text: str, root: Path, name: str) -> str:
    """A document with all of its quotations as the files below `root` have them.

    Raises `UserError`, naming the document: a file, a table, a column or a row that is not to be found any more.
    """
    for target in PICTURE.findall(text):
        if not (root / name).parent.joinpath(target).is_file():
            raise UserError(f"{name} shows the picture '{target}', which is not there any more")
    grids: dict[str, list[Grid]] = {}

    def block(found: re.Match[str]) -> str:
        file, title, body = found.groups()
        try:
            if file not in grids:
                grids[file] = tables_of(read_text(root / file, MOST_BYTES))
            lines = _quoted(body, title, grids[file])
        except FileNotFoundError:
            raise UserError(f"{name} quotes '{file}', which is not there any more") from None
        except UserError as error:
            raise UserError(f"{name} quotes '{file}': {error}") from None
        opening = f"<!-- from {file}{f': {title}' if title else ''} -->"
        return "\n".join([opening, *lines, "<!-- end -->"])

    return BLOCK.sub(block, text)


def tables_of(text: str) -> list[Grid]:
    """All tables of a Markdown text, with the headings that they stand under."""
    found: list[Grid] = []
    title = ""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        if len(lines) >= 2:
            found.append(_grid(title, lines))
        lines = []
        if line.startswith("#"):
            title = line.lstrip("#").strip()
        elif LETTER_NOTE.match(line) and found:
            found[-1] = replace(found[-1], notes=(*found[-1].notes, line))
    return found


def _grid(title: str, lines: Sequence[str]) -> Grid:
    cells = [tuple(part.strip() for part in _CELL_END.split(line)[1:-1]) for line in lines]
    return Grid(title, cells[0], tuple(cells[2:]), tuple(lines[:2]), tuple(lines[2:]))


def _quoted(body: str, title: str | None, tables: Sequence[Grid]) -> list[str]:
    """The lines of a block, written anew."""
    found = tables_of(body)
    if len(found) != 1 or not found[0].rows:
        raise UserError("between the two comments stands no table with rows")
    old = found[0]
    if title is not None:
        if title not in {table.title for table in tables}:
            raise unknown("table", title, {table.title for table in tables})
        tables = [table for table in tables if table.title == title]
    fitting = [table for table in tables if set(old.columns) <= set(table.columns)]
    if not fitting:
        raise UserError(f"no table has the columns {', '.join(old.columns)} any more")
    whole = [(table, rows) for table in fitting if None not in (rows := [_row(table, old, row) for row in old.rows])]
    # a table that is quoted whole, before one of which some columns would be
    whole = [(table, rows) for table, rows in whole if table.columns == old.columns] or whole
    if not whole:
        raise UserError(_missing(fitting, old))
    as_it_is = [(table, rows) for table, rows in whole if _lines(table, rows, old) == _written(old)]
    if len(whole) > 1 and len(as_it_is) != 1:
        titles_found = "; ".join(table.title for table, _ in whole)
        raise UserError(f"several tables have such rows: say which after the file, with a colon ({titles_found})")
    table, rows = (as_it_is if len(whole) > 1 else whole)[0]
    lines = _lines(table, rows, old)
    notes = [note for note in table.notes if any(f" {note.split()[1]} " in line for line in lines)]
    return [*lines, "", *notes] if notes else lines


def _row(table: Grid, old: Grid, row: Sequence[str]) -> int | None:
    """The row with the same labels; None where there is none, or more than one."""
    labels = {name: text for name, text in zip(old.columns, row, strict=False) if name in LABELS}
    found = [i for i, other in enumerate(table.rows) if _has(table, other, labels)]
    return found[0] if labels and len(found) == 1 else None


def _has(table: Grid, row: Sequence[str], labels: dict[str, str]) -> bool:
    return all(dict(zip(table.columns, row, strict=False)).get(name) == text for name, text in labels.items())


def _missing(tables: Sequence[Grid], old: Grid) -> str:
    """What is not to be found, in the table that has most of the rows."""
    nearest = max(tables, key=lambda table: sum(_row(table, old, row) is not None for row in old.rows))
    row = next(row for row in old.rows if _row(nearest, old, row) is None)
    labels = ", ".join(f"{name} {text}" for name, text in zip(old.columns, row, strict=False) if name in LABELS)
    return f"'{nearest.title}' has no row any more, or several, with {labels or 'any labels'}"


def _lines(table: Grid, rows: Sequence[int | None], old: Grid) -> list[str]:
    """The lines as they stand in the run, or with some columns alone."""
    picked = [i for i in rows if i is not None]
    if old.columns == table.columns:
        return [*table.head, *(table.lines[i] for i in picked)]
    where = [table.columns.index(name) for name in old.columns]
    body = [[table.rows[i][column] for column in where] for i in picked]
    return tabulate(body, headers=old.columns, tablefmt="github", disable_numparse=True).splitlines()


def _written(grid: Grid) -> list[str]:
    return [*grid.head, *grid.lines]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write documents anew, or with `--check` only say which would change (exit code 1)."""
    parser = argparse.ArgumentParser(prog="python tools/quote_tables.py", description="Refresh quoted tables.")
    parser.add_argument("documents", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, default=Path(), help="folder that quoted files are named from")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would change")
    given = parser.parse_args(arguments)
    changed = {}
    try:
        for document in given.documents:
            text = read_text(document, MOST_BYTES)
            new = refreshed(text, given.root, str(document))
            if new != text:
                changed[document] = new
        for document, new in changed.items() if not given.check else ():
            replace_file(document, new.encode())
    except FileNotFoundError as error:
        say(f"metabench: there is no document '{error.filename}'")
        return 2
    except UserError as error:
        say(f"metabench: {error}")
        return 2
    for document in changed:
        say(f"{document}: {'differs from the runs it quotes' if given.check else 'written anew'}")
    return 1 if changed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
