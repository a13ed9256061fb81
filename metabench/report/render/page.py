"""A page of HTML that opens offline: tables and figures in one file, and nothing fetched."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from metabench.report.answer import Answer
from metabench.report.figures.base import PLOTS, Figure
from metabench.report.numbers import Linked, true_value
from metabench.report.render.attachments import Attachment
from metabench.report.render.figure import figure_html
from metabench.report.render.latex import SIGNS
from metabench.report.render.tables import Table
from metabench.text import counted, one_line

STYLES = ("page.css", "front.css", "filter.css", "figure.css", "print.css")
SCRIPTS = ("front.js", "address.js", "sort.js", "filter.js", "copy.js", "save.js", "print.js", "figure.js", "rows.js")
"""Files beside this one, in the order in which the page holds them. The policy of the page names each by its hash."""
LONG = 40
"""Characters, from which on the text of a cell goes on in the next line."""
STATUS, OK = "status", "ok"
COST, RATIO = re.compile(r"\b(time|memory|training)\b"), re.compile(r"^relative|÷|speed-up")
"""What is in the title of a column that shows a cost, and of one that shows its ratio to another."""
INTERVAL = re.compile(r" \[[^\[\]]*\].*")
"""The interval of a figure, and the marks behind it."""


@dataclass(frozen=True)
class Part:
    """A heading, and what stands below it."""

    title: str
    says: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    appendix: bool = False
    """Folded; the ids of cells in all other parts lead to the rows of its tables."""
    charts: Markup | None = None
    """Small figures, already written as HTML; each reflows with the page."""


@dataclass(frozen=True)
class Front:
    """What the page of a run begins with: enough for a reader who reads no further."""

    answer: Answer
    figure: Figure | None = None
    """The figure beside the answer."""
    origin: Sequence[tuple[str, str]] = ()
    """Name and value: when, with what and on what it was measured."""
    how_to_read: str = ""
    files: Sequence[Attachment] = ()
    """Files that can be saved from the page."""


@dataclass(frozen=True)
class Kinds:
    """What the rows and figures of a page are of, so that a reader can choose among them."""

    axes: Sequence[str] = ()
    cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The value on each axis, by a cell's id."""

    @property
    def chips(self) -> list[tuple[str, list[str]]]:
        """The axes on which cells differ, each with all of its values."""
        values = [list(dict.fromkeys(kind[place] for kind in self.cells.values())) for place in range(len(self.axes))]
        return [(axis, found) for axis, found in zip(self.axes, values, strict=True) if len(found) > 1]

    def data(self, figures: Sequence[Figure]) -> dict[str, Any]:
        """What the filter's script reads: each kind once, and its number for each cell and figure."""
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(self.cells.values()))}
        cells = {name: numbers[kind] for name, kind in self.cells.items()}
        behind = {one.name: {name for text in one.frame["cells"] for name in text.split()} for one in figures}
        kinds = {name: sorted({cells[cell] for cell in ids & cells.keys()}) for name, ids in behind.items()}
        return {"axes": list(self.axes), "kinds": list(numbers), "cells": cells, "figures": kinds}


def page(
    title: str,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    parts: Sequence[Part],
    *,
    front: Front | None = None,
    kinds: Kinds | None = None,
) -> str:
    """The whole page. Every text is escaped: a run's names and reasons are data."""
    kinds = kinds or Kinds()
    figures = [figure for part in parts for figure in part.figures]
    styles, scripts = ([Markup(_read(name)) for name in names] for names in (STYLES, SCRIPTS))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.globals |= {"true_value": true_value, "counted": counted, "figure_html": figure_html, "hashes": _hashes}
    environment.globals |= {"interval": _interval, "classes_of": _classes}
    return environment.from_string(_read("page.html.j2")).render(
        title=title,
        facts=facts,
        warnings=warnings,
        parts=parts,
        front=front,
        chips=kinds.chips,
        data={**kinds.data(figures), "latex": SIGNS},
        anchors=_anchors(parts),
        styles=styles,
        scripts=scripts,
        plots=PLOTS,
        long=LONG,
    )


def _read(name: str) -> str:
    return files("metabench.report.render").joinpath(name).read_text("utf-8")


def _shown(value: object) -> str:
    return value if isinstance(value, Markup) else one_line(str(value))


def _interval(text: str) -> Markup:
    """A text, escaped, in which the interval of a figure is fainter than the figure, and a link is one."""
    if isinstance(text, Linked):
        return Markup('<a href="{}">{}</a>').format(text.address, one_line(text))
    safe = str(escape(one_line(text)))
    return Markup(INTERVAL.sub(r"<i>\g<0></i>", safe) if true_value(text) is not None else safe)


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _hashes(texts: Sequence[str]) -> str:
    """The sources of a policy that lets just these texts be run or applied."""
    return " ".join(f"'sha256-{_base64(sha256(text.encode()).digest())}'" for text in texts)


def _classes(table: Table, front: bool) -> list[str]:
    """A class for each column, or none.

    `quiet` says nothing in this table, and stands aside where there is little room. In the tables of the front a phone
    shows ratios of time and scores first, then `memory`, then what is `absolute`.
    """

    def one(place: int, column: str) -> str:
        if column == STATUS and all(row[place] == OK for row in table.rows):
            return "quiet"
        if not front or not place or not COST.search(column):
            return ""
        return "absolute" if not RATIO.search(column) else "memory" if "memory" in column else ""

    return [one(place, column) for place, column in enumerate(table.columns)]


def _anchors(parts: Sequence[Part]) -> dict[str, tuple[str, int]]:
    """The first row of each cell in the appendix, by the cell's id: the table's key, and the row. Links lead to it."""
    found: dict[str, tuple[str, int]] = {}
    for p, part in enumerate(parts):
        for t, table in enumerate(part.tables if part.appendix else ()):
            for r, ids in enumerate(table.cells):
                found.setdefault(ids[0], (f"{p}-{t}", r))
    return found
