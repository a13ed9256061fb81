"""A page of HTML that opens offline: tables and pictures in one file, and nothing fetched."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from metabench.report.document import Document
from metabench.report.plots.picture import Picture
from metabench.report.tables import Table


@dataclass(frozen=True)
class Part:
    """A heading, and what stands below it."""

    title: str
    says: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[Picture, bytes]] = ()
    """With their SVG."""


def document_page(shown: Document, drawn: Sequence[tuple[Picture, bytes]]) -> str:
    """The text of a run's `report.html`."""
    parts = [Part("Pictures", "", (), drawn)] if drawn else []
    parts += [Part(section.title, "", section.tables) for section in shown.sections]
    return page(shown.title, shown.facts, shown.warnings, parts)


def page(title: str, facts: Sequence[tuple[str, str]], warnings: Sequence[str], parts: Sequence[Part]) -> str:
    """The whole page. Every text is escaped: a run's names and reasons are data."""
    body = [f"<h1>{escape(title)}</h1>"]
    body += ["<dl>", *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts), "</dl>"]
    body += [f'<p class="warning">{escape(sentence)}</p>' for sentence in warnings]
    for part in parts:
        body += [f"<h2>{escape(part.title)}</h2>", f"<p>{escape(part.says)}</p>"]
        body += [_picture(picture, svg) for picture, svg in part.pictures]
        body += [_table(table) for table in part.tables]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _picture(picture: Picture, svg: bytes) -> str:
    # As an image of its own, so that nothing in it can be run, and its names cannot meet those of another.
    source = f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    caption = f"<figcaption>{escape(picture.says)}</figcaption>"
    return f'<figure><img alt="{escape(picture.title)}" src="{source}">{caption}</figure>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in table.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    grid = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    return f"<h3>{escape(table.title)}</h3><p>{escape(table.says)}</p>{grid}{notes}"
