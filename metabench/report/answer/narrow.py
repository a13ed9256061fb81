"""The tables of an answer: columns of a full table, so that no figure can differ from what it shows."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from metabench.record.cell import AXES, varying
from metabench.report.axes import MACHINE
from metabench.report.marks import DISTURBED, LETTER, PARTIAL
from metabench.report.noise import DRIFTING, SAME
from metabench.report.numbers import Valued, true_value
from metabench.report.render.tables import NO_TECHNIQUE, Table
from metabench.report.results import Run
from metabench.report.sections.columns import NOISY, STATUS

MOST_COLUMNS = 7
SCORE = re.compile(r"(?P<value>[^\[]*) \[[^\]]*\](?P<marks>.*)", re.DOTALL)
"""A score, with its interval and the marks behind it."""
LETTER_NOTE = re.compile(f"{LETTER} ")
UNMATCHED_NOTE = "† "
MARKS = {
    SAME: "≈ no difference that can be told.",
    DRIFTING: "↕ it drifted while it was measured, which could explain a difference.",
    PARTIAL: "‡ of what was measured before it failed.",
    DISTURBED: "(disturbed): other programs decided on the time.",
}
"""What marks mean, in a few words."""
SHOWN_BY_INTERVAL = (NOISY,)
"""Marks that say no more than the interval beside them."""
FIRST_LABELS = ("algorithm", "implementation", "engine", "seeds", "technique")
"""Labels in the order in which they are kept where there is no room for all."""
SAID: dict[str, Callable[[str], str]] = {
    "algorithm": lambda text: f"all of {text}",
    "seeds": lambda text: text if "seed" in text else f"{text} seeds",
    "test steps": lambda text: f"tested after {text} inner steps" if text != "1" else "tested after 1 inner step",
    "iterations": lambda text: f"{text} iterations",
    "technique": lambda text: "" if text == NO_TECHNIQUE else text,
}
"""How a caption says what is the same in all rows."""


@dataclass(frozen=True)
class Found:
    """What a kind of answer found in a run."""

    question: str
    tables: tuple[Table, ...]
    sentences: tuple[str, ...]


def narrow(table: Table, title: str, says: str, figures: Sequence[str], labels: Collection[str] = ()) -> Table:
    """The table with these columns of figures, and with no more columns that name a row than are needed.

    What is the same in all rows goes into the caption, and a status that is not ok to the row's name. `labels` are the
    columns that may name a row: all that are no figures, where none is given.
    """
    columns = {name: [row[i] for row in table.rows] for i, name in enumerate(table.columns)}
    statuses = columns.pop(STATUS.title, ["ok"] * len(table.rows))
    shown = [name for name in figures if name in columns]
    plain = [name for name in columns if not any(isinstance(text, Valued) for text in columns[name])]
    naming = [name for name in plain if name not in figures and (not labels or name in labels)]
    constant = [name for name in naming if len(set(columns[name])) <= 1]
    constant = constant if len(constant) < len(naming) else constant[1:]
    kept = _kept(columns, [name for name in naming if name not in constant], MOST_COLUMNS - len(shown))
    said = [SAID.get(name, lambda text, name=name: f"{name} {text}")(columns[name][0]) for name in constant]
    left_out = [name for name in naming if name not in (*constant, *kept)]
    same = ", ".join(filter(None, said))
    caption = [says, f"{same[0].upper()}{same[1:]}." if same else ""]
    caption += [f"Rows also differ in {', '.join(left_out)}."] if left_out else []
    order = [*kept, *shown]
    for i, status in enumerate(statuses):
        if status != "ok":
            columns[order[0]][i] += f" ({status.partition(':')[0]})"
    rows = tuple(zip(*([_plain(text) for text in columns[name]] for name in order), strict=True))
    notes = [note for mark, note in MARKS.items() if any(mark in text for row in rows for text in row)]
    notes += [note for note in table.notes if _explains(note, rows)]
    return Table(title, " ".join(filter(None, caption)), tuple(order), rows, tuple(notes), table.cells)


def place(full: Table, run: Run) -> str:
    """The setting that a full table names, without what the whole run has alike: device, precision, threads."""
    cells = [row.cell for row in run.measurements]
    axes = (*MACHINE, "precision")
    tacit = {AXES[axis].say(cells[0][axis]) for axis in axes if axis not in varying(cells, axes)}
    return ", ".join(part for part in full.title.partition(": ")[2].split(", ") if part not in tacit)


def _kept(columns: dict[str, list[str]], naming: list[str], room: int) -> list[str]:
    """The columns that tell rows apart, and as many others as there is room for; in their order."""
    needed = list(naming)
    for name in sorted(naming, key=_place, reverse=True):
        others = [other for other in needed if other != name]
        if others and _count(columns, others) == _count(columns, naming):
            needed = others
    more = sorted((name for name in naming if name not in needed), key=_place)
    needed += more[: max(0, room - len(needed))]
    return [name for name in naming if name in needed]


def _place(name: str) -> int:
    return FIRST_LABELS.index(name) if name in FIRST_LABELS else len(FIRST_LABELS)


def _count(columns: dict[str, list[str]], names: Sequence[str]) -> int:
    """How many rows these columns tell apart."""
    return len(set(zip(*(columns[name] for name in names), strict=True)))


def _plain(text: str) -> str:
    """The text without marks that its interval shows."""
    for mark in SHOWN_BY_INTERVAL:
        if mark in text:
            text = like(text, text.replace(mark, ""))
    return text


def like(text: str, words: str) -> str:
    """Other words for a figure, with its value and its doubt."""
    if not isinstance(text, Valued):
        return words
    made = Valued(words, text.value)
    made.doubt = text.doubt
    return made


def _explains(note: str, rows: Sequence[Sequence[str]]) -> bool:
    """Whether a note of the full table says what a mark of these rows means."""
    mark = note.split(" ")[0]
    known = LETTER_NOTE.match(note) or note.startswith(UNMATCHED_NOTE)
    return bool(known) and any(f" {mark}" in text for row in rows for text in row)


def with_difference(table: Table, score: str, difference: str, title: str, sign: str = "") -> Table:
    """The table with what a score differs by beside the score, which then needs no interval of its own."""
    if score not in table.columns or difference not in table.columns:
        return table
    i, j = table.columns.index(score), table.columns.index(difference)

    def joined(text: str, other: str) -> str:
        parts = SCORE.fullmatch(text)
        if not parts or not SCORE.fullmatch(other):
            return text
        return like(text, f"{parts['value']}{parts['marks']}, {sign}{other}")

    rows = (
        tuple(joined(row[i], row[j]) if k == i else text for k, text in enumerate(row) if k != j) for row in table.rows
    )
    names = (title if name == score else name for name in table.columns if name != difference)
    return replace(table, columns=tuple(names), rows=tuple(rows))


def best_first(table: Table, column: str, lower: bool) -> Table:
    """The table in the order of a column of figures; rows without a figure come last."""
    i = table.columns.index(column)

    def key(number: int) -> tuple[bool, float]:
        value = true_value(table.rows[number][i])
        return value is None, (value if lower else -value) if value is not None else 0.0

    order = sorted(range(len(table.rows)), key=key)
    cells = tuple(table.cells[number] for number in order) if table.cells else ()
    return replace(table, rows=tuple(table.rows[number] for number in order), cells=cells)
