"""The page of a run: its answer, figures, all tables, all rows, and the files that they were made of."""

from collections.abc import Sequence

from metabench.report.answer import Answer
from metabench.report.document import Document
from metabench.report.figures.base import Figure
from metabench.report.provenance import provenance
from metabench.report.render.attachments import Attachment
from metabench.report.render.page import Front, Kinds, Part, page
from metabench.report.results import Run
from metabench.report.sections.appendix import rows_table

BESIDE = "pareto"
"""The figure beside the answer: cost against quality. A run without it shows its first figure there."""
KINDS = ("task", "algorithm", "engine")
"""The axes by whose values a reader chooses rows and figures."""


def run_page(
    answer: Answer,
    shown: Document,
    figures: Sequence[Figure],
    run: Run,
    files: Sequence[Attachment] = (),
) -> str:
    """The text of a run's `report.html`."""
    beside = next((one for one in figures if one.name == BESIDE), figures[0] if figures else None)
    others = [one for one in figures if one is not beside]
    parts = [Part("Figures", "", (), others)] if others else []
    parts += [Part(section.title, "", section.tables) for section in shown.sections]
    everything = rows_table(run)
    parts += [Part("Rows of the run", "", (everything,), appendix=True)] if everything.rows else []
    front = Front(answer, beside, provenance(run), " ".join(shown.how_to_read), files)
    rows = [*run.measurements, *run.noise_rows]
    kinds = Kinds(KINDS, {row.id: (row.cell.problem, row.cell.algorithm, row.cell.engine) for row in rows})
    return page(answer.question, shown.facts, shown.warnings, parts, front=front, kinds=kinds)
