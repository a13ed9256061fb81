"""A page of HTML that opens offline: tables and pictures in one file, and nothing fetched."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from metabench.report.document import Document, headline
from metabench.report.figures.base import PLOTS, Figure
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
    pictures: Sequence[tuple[Figure, bytes]] = ()
    """Figures, each with its SVG."""
    appendix: bool = False
    """Folded; the ids of cells in all other parts lead to the rows of its tables."""


def document_page(shown: Document, drawn: Sequence[tuple[Figure, bytes]], run: Run) -> str:
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
    folder = files("metabench.report.render")
    style, script, template = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js", "html.j2"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.globals |= {"true_value": true_value, "base64": _base64, "hash": _hash}
    return environment.from_string(template).render(
        title=title,
        facts=facts,
        warnings=warnings,
        parts=parts,
        anchors=_anchors(parts),
        style=Markup(style),
        script=Markup(script),
        plots=PLOTS,
        long=LONG,
        many_warnings=MANY_WARNINGS,
    )


def _shown(value: object) -> str:
    return value if isinstance(value, Markup) else one_line(str(value))


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _hash(text: str) -> str:
    return f"sha256-{_base64(sha256(text.encode()).digest())}"


def _anchors(parts: Sequence[Part]) -> dict[str, tuple[str, int]]:
    """The first row of each cell in the appendix, by the cell's id: the table's key, and the row. Links lead to it."""
    found: dict[str, tuple[str, int]] = {}
    for p, part in enumerate(parts):
        for t, table in enumerate(part.tables if part.appendix else ()):
            for r, ids in enumerate(table.cells):
                found.setdefault(ids[0], (f"{p}-{t}", r))
    return found
