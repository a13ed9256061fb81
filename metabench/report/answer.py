"""The answer of a run in a few lines: what a terminal prints at its end, and what its page begins with."""

from dataclasses import dataclass

from metabench.report.document import document, headline
from metabench.report.render.tables import Table
from metabench.report.results import Run


@dataclass(frozen=True)
class Answer:
    """What a reader wants to know first."""

    question: str
    """The title: what the run answers, as a question."""
    ran: str
    """How much was measured, how long it took, and whether all of it is ok."""
    machine: str
    """Where it was measured."""
    tables: tuple[Table, ...]
    """The matched table of each task, at most seven columns wide."""
    sentences: tuple[str, ...]
    """What the tables say, one conclusion a sentence."""
    noise: str
    """How far two measurements of one configuration differ; empty where no time was measured."""
    failures: tuple[str, ...]
    """What failed, a sentence a kind; empty where everything is ok."""


def answer_of(run: Run) -> Answer:
    """The answer of a run."""
    shown = document(run)
    first = headline(shown.sections)
    return Answer(shown.title, "", run.environment.summary, (first,) if first else (), (), "", ())
