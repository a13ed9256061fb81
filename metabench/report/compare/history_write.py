"""Writes a history: history.csv, history.md, and a page a machine."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from metabench.files import replace_file
from metabench.report.compare.history import (
    MachineHistory,
    changes_table,
    history_frame,
    history_table,
    labels_of,
)
from metabench.report.figures.history import SAYS, history_chart
from metabench.report.render.page import Part, page
from metabench.report.render.tables import markdown
from metabench.text import counted


def write_history(found: Sequence[MachineHistory], out: Path) -> list[Path]:
    """Write all files into `out`, replacing those that are there; gives the pages. Raises `UserError`.

    The page is `history.html`. Where several machines have a history, each has a page with its name.
    """
    told = [history for history in found if history.lines]
    names = ["history.html"] if len(told) == 1 else [f"history-{_plain(history.machine)}.html" for history in told]
    pages = {out / name: history_page(history) for name, history in zip(names, told, strict=True)}
    texts = {
        out / "history.csv": history_frame(found).to_csv(index=False, lineterminator="\n"),
        out / "history.md": "\n".join(markdown(history_table(history)) for history in found),
        **pages,
    }
    for file, text in texts.items():
        replace_file(file, text.encode())
    return list(pages)


def history_page(found: MachineHistory) -> str:
    """The text of the page of one machine that has a history: a table, and a small chart for each of its rows."""
    changed = sum(bool(line.steps) for line in found.lines)
    facts = [
        ("runs", f"{len(found.columns)}, from {found.columns[0].label} to {found.columns[-1].label}"),
        (
            "configurations",
            f"{len(found.lines)} at two commits or more; {changed} with a change point, which come first",
        ),
    ]
    facts += (
        [("not shown", f"{counted(found.single, 'configuration')} measured at a single commit")] if found.single else []
    )
    table = changes_table(found)
    notes = tuple(note for note in table.notes if note != found.left_out)  # the facts say it
    table = replace(table, title="From the first commit to the last", notes=notes)
    words, _ = labels_of(found)
    charts = Markup("").join(
        history_chart(found, line, where) for line, (_, where) in zip(found.lines, words, strict=True)
    )
    parts = [Part("Configurations", "", (table,)), Part("Charts", SAYS, charts=charts)]
    return page(f"History on {found.machine}", facts, [], parts)


def _plain(name: str) -> str:
    """A machine's name, as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:80]
