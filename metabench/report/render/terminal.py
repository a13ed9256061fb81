"""The end of a run on a terminal: its answer in a few lines, none of them wider than the terminal."""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from metabench.report.document import Document
from metabench.report.marks import LETTER
from metabench.report.numbers import NOTHING, Valued
from metabench.report.render.fitting import GAP, WIDTH, wrapped
from metabench.report.render.tables import Table
from metabench.text import counted, one_line

MOST_LINES = 30
NARROWEST = 20
DISPENSABLE = ("peak memory", "step time", "communication")
"""Figures that are left out of a table that is too wide before others: what is relative says more."""
LEAST = ("evaluation", "training")
"""Figures that are left out first of all."""
FEWEST_ROWS = 4
"""Rows that a table keeps as long as notes can be left out instead."""
SENTENCE_END = re.compile(r"(?<=\.) ")
MARK = re.compile(r"\((?:[a-z]+|\d+)\)|[≈↕‡†]")
"""What a note begins with that explains a mark."""
LETTERED = re.compile(f" ({LETTER})")


def terminal_width() -> int:
    """How many columns a line may have."""
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, MOST_LINES)).columns) if sys.stdout.isatty() else WIDTH


def answer_text(shown: Document, folder: Path | None, width: int) -> str:
    """The answer of a run in at most 30 lines of so many columns, and where the rest is, if in a folder."""
    answer = shown.answer
    if answer is None:
        raise ValueError("only a run has an answer")
    head = [*_wrapped(answer.question, width), *_wrapped(f"{answer.ran}. {answer.machine}.", width)]
    said = [line for text in answer.sentences for line in _wrapped(f"=> {text}", width, "   ")]
    said += [line for text in (answer.noise, *answer.failures) for line in _wrapped(text, width, GAP)]
    end = _end(folder, len(shown.warnings), width) if folder else []
    said = said[: max(0, MOST_LINES - len(head) - len(end))]
    blocks = [_block(table, width) for table in answer.tables]
    common = _common(blocks)
    _fit(blocks, common, MOST_LINES - len(head) - len(said) - len(end))
    parts = [head, *(block.lines for block in blocks), _common_foot(common, blocks), said, end]
    parts = [part for part in parts if part]
    # A blank line between parts, where there is room for all of them.
    roomy = sum(map(len, parts)) + len(parts) - 1 <= MOST_LINES
    return ("\n\n" if roomy else "\n").join("\n".join(part) for part in parts)


def _end(folder: Path, warnings: int, width: int) -> list[str]:
    """Where everything else is."""
    places = [f"Report: {folder / 'report.html'}", f"Tables: {folder / 'tables.md'}"]
    together = "   ".join(map(one_line, places))
    lines = [together] if cell_len(together) <= width else [part for line in places for part in _wrapped(line, width)]
    more = f" and {counted(warnings, 'warning')}" if warnings else ""
    return [*lines, *_wrapped(f"All tables{more}: metabench report {shlex.quote(str(folder))} --full", width)]


@dataclass
class _Block:
    """A table as lines: its head, its rows, and what is said below them."""

    head: list[str]
    rows: list[str]
    weights: list[int]
    """How much each row says: one that says less is left out before others."""
    notes: list[str]
    width: int
    hidden: set[int] = field(default_factory=set)

    @property
    def lines(self) -> list[str]:
        """All lines, with a word on rows that are left out."""
        more = [f"{GAP}… {counted(len(self.hidden), 'row')} more"] if self.hidden else []
        notes = [note for note in self.notes if _of_rows(note, self.shown)]
        return [*self.head, *self.shown, *more, *_foot(notes, self.width)]

    @property
    def shown(self) -> list[str]:
        """The rows that are not left out."""
        return [row for i, row in enumerate(self.rows) if i not in self.hidden]

    @property
    def left(self) -> int:
        """How many rows are shown."""
        return len(self.rows) - len(self.hidden)

    def hide(self) -> None:
        """Leave out one more row: of those that say least, the last."""
        shown = (i for i in range(len(self.rows)) if i not in self.hidden)
        self.hidden.add(min(shown, key=lambda i: (self.weights[i], -i)))


def _block(table: Table, width: int) -> _Block:
    columns = _fitting(table, width)
    names = _names(table, columns)
    texts = [[name, *(one_line(row[i]) for i in columns[1:])] for name, row in zip(names, table.rows, strict=True)]
    titles = [_broken(one_line(table.columns[i])) for i in columns]
    depth = max((len(title) for title in titles), default=0)
    titles = [title + [""] * (depth - len(title)) for title in titles]
    widths = [max(map(cell_len, (*title, *(row[k] for row in texts)))) for k, title in enumerate(titles)]

    def line(parts: Sequence[str]) -> str:
        text = GAP + GAP.join(set_cell_size(part, size) for part, size in zip(parts, widths, strict=True)).rstrip()
        return set_cell_size(text, width).rstrip() if cell_len(text) > width else text

    head = [*_wrapped(table.title, width), *(line([title[k] for title in titles]) for k in range(depth))]
    weights = [sum(text not in ("", NOTHING) for text in row) for row in table.rows]
    notes = [part for text in (table.says, *table.notes) for part in SENTENCE_END.split(one_line(text)) if part]
    return _Block(head, [line(row) for row in texts], weights, notes, width)


def _of_rows(note: str, rows: Sequence[str]) -> bool:
    """Whether a note is of any of these rows: that of a mark is where the mark stands."""
    mark = MARK.match(note)
    return not mark or any(mark[0] in row for row in rows)


def _broken(title: str) -> list[str]:
    """A header in lines: what stands in brackets, or behind a comma, has one of its own."""
    return title.replace(" (", "\n(").replace(", ", ",\n").split("\n")


def _fitting(table: Table, width: int) -> list[int]:
    """The columns that there is room for, the first always among them."""
    sizes = [
        max(map(cell_len, (*_broken(one_line(name)), *(one_line(row[i]) for row in table.rows))))
        for i, name in enumerate(table.columns)
    ]
    kept = list(range(len(sizes)))
    labels = [i for i in kept if not any(isinstance(row[i], Valued) for row in table.rows)]
    spare = [i for i in reversed(labels[1:]) if _tell_apart(table, labels) == _tell_apart(table, labels, but=i)]
    least, named = (
        [table.columns.index(name) for name in names if name in table.columns] for names in (LEAST, DISPENSABLE)
    )
    order = [*least, *spare, *named, *(i for i in reversed(kept) if i not in labels), *reversed(labels)]
    for i in list(dict.fromkeys(order))[:-1]:
        first = max(sizes[kept[0]], *map(cell_len, _names(table, kept)), 0)
        if sum(size + len(GAP) for size in (first, *(sizes[k] for k in kept[1:]))) <= width:
            break
        if i not in spare or _tell_apart(table, labels) == _tell_apart(table, [k for k in labels if k in kept], but=i):
            kept.remove(i)
    return kept


def _names(table: Table, columns: Sequence[int]) -> list[str]:
    """The texts of the first of these columns, each with the marks that stand only in columns that are left out."""

    def named(row: Sequence[str]) -> str:
        had = [mark for text in row for mark in LETTERED.findall(text)]
        kept = [mark for i in columns for mark in LETTERED.findall(row[i])]
        return " ".join([one_line(row[columns[0]]), *(mark for mark in dict.fromkeys(had) if mark not in kept)])

    return [named(row) for row in table.rows]


def _tell_apart(table: Table, labels: Sequence[int], but: int = -1) -> int:
    """How many rows these columns tell apart, without one of them."""
    return len({tuple(row[i] for i in labels if i != but) for row in table.rows})


def _common(blocks: Sequence[_Block]) -> list[str]:
    """The notes that all of several tables have, taken out of them, to be shown once."""
    if len(blocks) < 2:
        return []
    common = [note for note in blocks[0].notes if all(note in block.notes for block in blocks)]
    for block in blocks:
        block.notes = [note for note in block.notes if note not in common]
    return common


def _fit(blocks: list[_Block], common: list[str], room: int) -> None:
    """Leave out what says least until all fits: rows of long tables, notes, rows, and tables."""

    def over() -> bool:
        foot = _common_foot(common, blocks)
        return sum(len(block.lines) for block in blocks) + len(foot) > room

    def longest() -> _Block:
        return max(blocks, key=lambda block: block.left)

    while blocks and over() and longest().left > FEWEST_ROWS:
        longest().hide()
    for notes in (common, *(block.notes for block in reversed(blocks))):
        while over() and notes:
            notes.pop()
    while blocks and over() and longest().left > 1:
        longest().hide()
    while blocks and over():
        blocks.pop()


def _common_foot(common: Sequence[str], blocks: Sequence[_Block]) -> list[str]:
    """The lines of the notes that all tables share."""
    rows = [row for block in blocks for row in block.shown]
    return _foot([note for note in common if _of_rows(note, rows)], blocks[0].width) if blocks else []


def _foot(notes: Sequence[str], width: int) -> list[str]:
    return [GAP + part for part in _wrapped(" ".join(notes), width - len(GAP))]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most so many columns; a word that is longer, such as a path, is cut into several."""
    return [part for line in wrapped(text, width, indent) for part in _cut(line, width)]


def _cut(line: str, width: int) -> list[str]:
    """A line in parts of at most so many columns: a wide character takes two."""
    parts = []
    while cell_len(line) > width:
        part = set_cell_size(line, width).rstrip()
        parts.append(line[: len(part)])
        line = line[len(part) :]
    return [*parts, line]
