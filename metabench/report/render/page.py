"""A page of HTML that opens offline: tables and pictures in one file, and nothing fetched."""

from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from urllib.parse import quote

from metabench.report.document import Document, headline
from metabench.report.figures.picture import PLOTS, Picture
from metabench.report.numbers import true_value
from metabench.report.render.tables import Table
from metabench.report.results import Run
from metabench.report.sections.appendix import rows_table
from metabench.text import one_line

LONG = 40
"""Characters, from which on the text of a cell goes on in the next line."""
MANY_WARNINGS = 4  # more are folded, so that they do not hide the figures


@dataclass(frozen=True)
class Part:
    """A heading, and what stands below it."""

    title: str
    says: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[Picture, bytes]] = ()
    """With their SVG."""
    appendix: bool = False
    """Folded; the ids of cells in all other parts lead to the rows of its tables."""


def document_page(shown: Document, drawn: Sequence[tuple[Picture, bytes]], run: Run) -> str:
    """The text of a run's `report.html`: the table that says most, pictures, all other tables, all rows."""
    first = headline(shown.sections)
    parts = [Part("At a glance", " ".join(shown.how_to_read), (first,))] if first else []
    parts += [Part("Pictures", "", (), drawn)] if drawn else []
    for section in shown.sections:
        tables = [table for table in section.tables if table is not first]
        parts += [Part(section.title, "", tables)] if tables else []
    everything = rows_table(run)
    parts += [Part("Rows of the run", "", (everything,), appendix=True)] if everything.rows else []
    return page(shown.title, shown.facts, shown.warnings, parts)


def page(title: str, facts: Sequence[tuple[str, str]], warnings: Sequence[str], parts: Sequence[Part]) -> str:
    """The whole page. Every text is escaped: a run's names and reasons are data."""
    known = {name for part in parts if part.appendix for table in part.tables for ids in table.cells for name in ids}
    body = [f"<h1>{_text(title)}</h1>"]
    body += ["<dl>", *(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts), "</dl>"]
    body += [*_warnings(warnings), _contents(parts), *([_FILTER] if any(part.tables for part in parts) else [])]
    body.append("<main>")
    for number, part in enumerate(parts):
        body += _appendix(number, part) if part.appendix else _part(number, part, known)
    body.append("</main>")
    style, script = (
        files("metabench.report.render").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{_text(title)}</title>\n<style>{style}</style>'
    )
    content = "\n".join([*body, f"<script>{script}</script>"])
    return f'<!doctype html>\n<html lang="en"><head>\n{head}\n</head><body>\n{content}\n</body></html>\n'


def _text(text: str) -> str:
    return escape(one_line(text))


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


_FILTER = (
    '<div class="filter" hidden><label for="filter">Show rows with</label>'
    '<input id="filter" type="search" placeholder="words, such as: maml native" autocomplete="off" spellcheck="false">'
    '<output aria-live="polite"></output></div>'
)


def _warnings(warnings: Sequence[str]) -> Iterator[str]:
    folded = len(warnings) > MANY_WARNINGS
    if folded:
        yield f'<details><summary class="warning">{len(warnings)} warnings</summary>'
    for sentence in warnings:
        yield f'<p class="warning">{_text(sentence)}</p>'
    if folded:
        yield "</details>"


def _contents(parts: Sequence[Part]) -> str:
    """The table of contents; the tables of a part are folded where there is more than one."""
    items = []
    for number, part in enumerate(parts):
        link = f'<a href="#part-{number}">{_text(part.title)}</a>'
        names = [f'<li><a href="#table-{number}-{n}">{_text(t.title)}</a></li>' for n, t in enumerate(part.tables)]
        names += [f'<li><a href="#picture-{quote(p.name)}">{_text(p.title)}</a></li>' for p, _ in part.pictures]
        if len(names) > 1:
            kind = "tables" if part.tables else "pictures"
            link += f"<details><summary>{len(names)} {kind}</summary><ul>{''.join(names)}</ul></details>"
        items.append(f"<li>{link}</li>")
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _part(number: int, part: Part, known: Collection[str]) -> Iterator[str]:
    yield f'<h2 id="part-{number}">{_text(part.title)}</h2>'
    yield f'<p class="says">{_text(part.says)}</p>' if part.says else ""
    yield from (_picture(picture, svg) for picture, svg in part.pictures)
    for n, table in enumerate(part.tables):
        yield _table(f"table-{number}-{n}", table, [_behind(ids, known) for ids in table.cells])


def _appendix(number: int, part: Part) -> Iterator[str]:
    rows = sum(len(table.rows) for table in part.tables)
    yield f'<h2 id="part-{number}" class="rows">{_text(part.title)}</h2>'
    yield f'<details class="appendix"><summary>{rows} rows: show or hide</summary>'
    yield f'<p class="says">{_text(part.says)}</p>' if part.says else ""
    anchored: set[str] = set()
    for n, table in enumerate(part.tables):
        yield _table(f"table-{number}-{n}", table, (), [_anchor(ids[0], anchored) for ids in table.cells])
    yield "</details>"


def _anchor(name: str, anchored: set[str]) -> str:
    """The attributes of a row by which it is found; the first row of a cell is the one that is led to."""
    first = name not in anchored
    anchored.add(name)
    return (f' id="cell-{escape(name)}"' if first else "") + f' data-cell="{escape(name)}"'


def _behind(ids: Sequence[str], known: Collection[str]) -> str:
    links = "".join(
        f'<a href="#cell-{escape(quote(name))}">{_text(name)}</a>' if name in known else f"<span>{_text(name)}</span> "
        for name in ids
    )
    words = f"{len(ids)} cell{'' if len(ids) == 1 else 's'} behind this row"
    return f'<td class="cells"><details><summary title="{words}" aria-label="{words}">⋯</summary>{links}</details></td>'


def _picture(picture: Picture, svg: bytes) -> str:
    # As an image of its own, so that nothing in it can be run, and its names cannot meet those of another.
    source = f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    file = f"{PLOTS}/{picture.name}.csv"
    caption = f'{_text(picture.says)} Figures: <a href="{escape(quote(file))}">{_text(file)}</a>'
    return (
        f'<figure id="picture-{escape(quote(picture.name))}"><h3 class="sr">{_text(picture.title)}</h3>'
        f'<img alt="{_text(picture.title)}" src="{source}"><figcaption>{caption}</figcaption></figure>'
    )


def _table(name: str, table: Table, behind: Sequence[str] = (), attributes: Sequence[str] = ()) -> str:
    """A table in a box of its own to scroll; `behind` is a last cell for each row, `attributes` are of each row."""
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    head += '<th scope="col" class="cells"><span class="sr">cells</span></th>' if behind else ""
    rows = "\n".join(
        f"<tr{attributes[i] if attributes else ''}>{_cells(row)}{behind[i] if behind else ''}</tr>"
        for i, row in enumerate(table.rows)
    )
    notes = "".join(f"<p>{_text(note)}</p>" for note in table.notes)
    grid = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    box = f'<div class="wide" tabindex="0" role="region" aria-labelledby="{name}">{grid}</div>' if table.rows else ""
    says = f'<p class="says">{_text(table.says)}</p>' if table.says else ""
    return (
        f'<section class="table"><h3 id="{name}">{_text(table.title)}</h3>{says}{box}<div class="notes">{notes}</div>'
        "</section>"
    )


def _cells(row: Sequence[str]) -> str:
    """The first one is the row's head. A figure has its value beside it, by which it is sorted."""
    shown = []
    for i, text in enumerate(row):
        tag = 'th scope="row"' if i == 0 else "td"
        value = true_value(text)
        data = "" if value is None else f' data-value="{value!r}"'
        kind = ' class="long"' if len(text) > LONG else ""
        shown.append(f"<{tag}{kind}{data}>{_text(text)}</{tag[:2]}>")
    return "".join(shown)
