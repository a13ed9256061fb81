"""A profile for a terminal: its summary, or all of it. The advice comes last, where a reader looks first."""

from pathlib import Path

from tabulate import tabulate

from metabench.profile.advice import advice
from metabench.profile.facts import SHORT, facts, warnings
from metabench.profile.measuring import Profile
from metabench.profile.tables import memory_table, operators_table, phases_table, title
from metabench.report.render.tables import Table, plain
from metabench.text import one_line

MOST_LINES = 40
"""Lines of the summary."""
MOST_OPERATORS = 5


def as_text(profile: Profile, folder: Path, full: bool = False) -> str:
    """The summary, of `MOST_LINES` at most, or all facts and tables."""
    said = [(name, one_line(value)) for name, value in facts(profile) if full or name in SHORT]
    width = max(len(name) for name, _ in said)
    head = [one_line(title(profile)), *(f"  {name:<{width}}  {value}" for name, value in said)]
    head += [f"warning: {one_line(sentence)}" for sentence in warnings(profile)]
    page = one_line(str(folder / "profile.html"))
    tail = [f"profile: {page}; open trace.json beside it in ui.perfetto.dev", one_line(advice(profile))]
    if full:
        shown = [plain(table) for table in (phases_table(profile), operators_table(profile), memory_table(profile))]
        return "\n\n".join(["\n".join(head), *shown, "\n".join(tail)])
    tail[0] += " (--full prints all tables)"
    phases = _grid(phases_table(profile))
    left = MOST_LINES - len(head) - len(phases) - len(tail) - 3  # for the empty lines
    operators = _grid(operators_table(profile, MOST_OPERATORS))[: max(0, left)] if profile.recording.operators else []
    return "\n\n".join("\n".join(block) for block in (head, phases, operators, tail) if block)


def _grid(table: Table) -> list[str]:
    """The lines of a table without its words."""
    rows = [[one_line(text) for text in row] for row in table.rows]
    return tabulate(rows, headers=table.columns, tablefmt="simple", disable_numparse=True).splitlines()
