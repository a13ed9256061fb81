"""Timings for a terminal: the steps, where their time goes, what is doubtful, and last the answer."""

from pathlib import Path

from metabench.report.render.fitting import fitted, width_of_output, wrapped
from metabench.report.render.tables import Table
from metabench.text import one_line
from metabench.timing.result import REPORT, Timings
from metabench.timing.tables import marked_table, operators_table, parts_table, times_table
from metabench.timing.words import doubts, sentences

MOST_OPERATORS = 5


def as_text(timings: Timings, folder: Path | None = None, full: bool = False) -> str:
    """The summary, or all tables; `folder` has the page."""
    tables: list[Table | None] = [times_table(timings), parts_table(timings)]
    tables += [marked_table(step) for step in timings.steps]
    if full or len(timings.steps) == 1:
        most = 1000 if full else MOST_OPERATORS
        tables += [operators_table(step, most) for step in timings.steps]
    width = width_of_output()
    warnings = [line for sentence in doubts(timings) for line in wrapped(f"warning: {sentence}", width, "  ")]
    said = [line for sentence in sentences(timings) for line in wrapped(sentence, width, "  ")]
    blocks = ["\n".join(_lines(table, width, full)) for table in tables if table]
    where = [f"report: {one_line(str(folder / REPORT))}"] if folder else []
    return "\n\n".join([*blocks, *filter(None, ["\n".join(warnings), *where]), "\n".join(said)])


def _lines(table: Table, width: int, full: bool) -> list[str]:
    head = [*wrapped(table.title, width), *(wrapped(table.says, width) if full else [])]
    notes = [line for note in table.notes for line in wrapped(note, width, "  ")]
    return [*head, fitted(table.columns, table.rows, width), *notes]
