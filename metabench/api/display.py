"""Tables, figures and answers of a run as objects: text in a terminal, HTML in a notebook, data for a program."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from metabench.errors import unknown
from metabench.files import replace_file
from metabench.report.answer import Answer
from metabench.report.numbers import NOTHING, Valued, true_value
from metabench.report.render.tables import Table, escaped, markdown, plain
from metabench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

    from metabench.report.figures.base import Figure

MIME_VEGA = "application/vnd.vegalite.v5+json"
IMAGES = ("svg", "png", "pdf")
"""Formats of a figure's files."""


@dataclass(frozen=True, repr=False)
class ShownTable:
    """A table of a report. Notebooks show it as HTML, `print` and `repr` as text."""

    section: str
    """Title of the section of the report that it stands in."""
    table: Table

    @property
    def title(self) -> str:
        """What the table shows, and of which configurations."""
        return self.table.title

    @property
    def notes(self) -> tuple[str, ...]:
        """What marks in the table mean, and what else a reader must know."""
        return self.table.notes

    def frame(self, text: bool = False) -> pd.DataFrame:
        """Give the table as a pandas frame, one row a line.

        Figures are numbers: times in seconds, memory in bytes, accuracies as shares of 1, all else as it is. With
        `text` they are texts with their intervals, as the report shows them. What was not measured is missing.
        `attrs` holds `title`, `says`, `notes`, and in `cells` for each row the ids of the rows of `Results.frame`
        behind it.
        """
        import pandas as pd

        rows = [[str(value) if text else _value(value) for value in row] for row in self.table.rows]
        frame = pd.DataFrame(rows, columns=list(self.table.columns))
        frame.attrs = {"title": self.title, "says": self.table.says, "notes": list(self.notes)}
        frame.attrs["cells"] = [list(ids) for ids in self.table.cells]
        return frame

    def __repr__(self) -> str:
        return plain(self.table)

    def _repr_html_(self) -> str:
        return table_html(self.table)

    def _repr_markdown_(self) -> str:
        return markdown(self.table)


@dataclass(frozen=True, repr=False)
class ShownFigure:
    """A figure of a report. Notebooks draw it, by Vega-Lite where they can or else as SVG."""

    figure: Figure

    @property
    def name(self) -> str:
        """Name of the figure, and of its files."""
        return self.figure.name

    @property
    def title(self) -> str:
        """What it shows."""
        return self.figure.title

    @property
    def spec(self) -> dict[str, Any]:
        """Specification in Vega-Lite, data included: `altair.Chart.from_dict(figure.spec)` takes it."""
        return self.figure.spec

    @property
    def svg(self) -> str:
        """Picture as SVG."""
        return self.figure.svg

    def frame(self) -> pd.DataFrame:
        """Give the rows that are drawn; the column `cells` names the ids of the rows of `Results.frame` behind each."""
        return self.figure.frame.copy()

    def save(self, file: str | PathLike[str]) -> Path:
        """Write it to a file of that format: `.svg`, `.png` or `.pdf`. Raises `UserError` for another."""
        from metabench.report.figures.base import image

        path = Path(file)
        kind = path.suffix.removeprefix(".")
        if kind not in IMAGES:
            raise unknown("format", kind, IMAGES)
        replace_file(path, image(self.figure, kind))
        return path

    def __repr__(self) -> str:
        return f"<figure '{self.name}': {self.title}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg, MIME_VEGA: self.spec}


@dataclass(frozen=True, repr=False)
class ShownAnswer:
    """The answer of a run: what the terminal prints at its end."""

    answer: Answer
    text: str
    """What the terminal prints, without the places of files."""

    @property
    def question(self) -> str:
        """What the run answers."""
        return self.answer.question

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, one conclusion a sentence."""
        return self.answer.sentences

    @property
    def tables(self) -> tuple[ShownTable, ...]:
        """The matched table of each task."""
        return tuple(ShownTable("Answer", table) for table in self.answer.tables)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        parts = [f"<h4>{_escaped(self.question)}</h4>", f"<p>{_escaped(self._ran)}</p>"]
        parts += [table_html(table) for table in self.answer.tables]
        return "".join([*parts, list_html(self._said)])

    def _repr_markdown_(self) -> str:
        parts = [f"### {escaped(self.question)}", escaped(self._ran)]
        parts += [markdown(table).rstrip() for table in self.answer.tables]
        return "\n\n".join([*parts, "\n".join(f"- {escaped(sentence)}" for sentence in self._said)])

    @property
    def _ran(self) -> str:
        return f"{self.answer.ran}. {self.answer.machine}."

    @property
    def _said(self) -> list[str]:
        return [*self.sentences, *filter(None, [self.answer.noise]), *self.answer.failures]


def table_html(table: Table) -> str:
    """The table as HTML, every text in it escaped."""
    aligned = [_side([row[place] for row in table.rows]) for place in range(len(table.columns))]
    rows = [[one_line(text) for text in row] for row in table.rows]
    columns = [one_line(column) for column in table.columns]
    grid = tabulate(rows, columns, tablefmt="html", disable_numparse=True, colalign=aligned if rows else None)
    says = f"<p>{_escaped(table.says)}</p>" if table.says else ""
    return f"<p><b>{_escaped(table.title)}</b></p>{says}{grid if rows else ''}{list_html(table.notes)}"


def list_html(sentences: Sequence[str]) -> str:
    """The sentences as a list in HTML, escaped; nothing for none."""
    return f"<ul>{''.join(f'<li>{_escaped(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def _side(texts: Sequence[str]) -> str:
    return "right" if any(isinstance(text, Valued) for text in texts) else "left"


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _value(text: str) -> str | float | None:
    """A figure's value, or the text; None for what was not measured."""
    value = true_value(text)
    if value is not None:
        return value
    return None if text in (NOTHING, "") else str(text)
