"""The table of a history for a terminal: no line is wider than that."""

import textwrap

from tabulate import tabulate

from metabench.report.numbers import NOTHING
from metabench.report.render.tables import Table
from metabench.text import one_line

NAMES = 2
"""How many columns name a row; the others are figures."""
GAP = 2
INDENT = "    "


def fitted(table: Table, width: int) -> str:
    """A table, or where it is too wide a list: the names of a row on one line, its figures on the next."""
    head = [line for text in (table.title, table.says, *table.notes) for line in textwrap.wrap(one_line(text), width)]
    rows = [[one_line(text) for text in row] for row in table.rows]
    if not rows:
        return "\n".join(head)
    sizes = [max(map(len, texts)) for texts in zip(table.columns, *rows, strict=True)]
    if sum(sizes) + GAP * (len(sizes) - 1) <= width:
        grid = tabulate(rows, headers=table.columns, tablefmt="simple", disable_numparse=True)
        return "\n".join([*head, "", grid])
    return "\n".join([*head, "", *(line for row in rows for line in _listed(table.columns, row, width))])


def _listed(columns: tuple[str, ...], row: list[str], width: int) -> list[str]:
    names = ", ".join(text for text in row[:NAMES] if text != NOTHING)
    figures = zip(columns[NAMES:], row[NAMES:], strict=True)
    said = "; ".join(f"{column} {text}" for column, text in figures if text != NOTHING)
    return [
        *textwrap.wrap(names, width, subsequent_indent="  "),
        *textwrap.wrap(said, width, initial_indent=INDENT, subsequent_indent=INDENT),
    ]
