"""The answer of a run in a few lines: what a terminal prints at its end, and what its page begins with."""

from dataclasses import dataclass

from metabench.report.answer import engines, facts, matched, processes
from metabench.report.render.tables import Table
from metabench.report.results import Run

MOST_SENTENCES = 3


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
    """How far two measurements of one configuration differ, and what that hides; empty where no time was measured."""
    failures: tuple[str, ...]
    """What failed, a sentence a kind; empty where everything is ok."""


def answer_of(run: Run) -> Answer:
    """The answer of a run: of several processes, of algorithms against each other, of engines, or of one algorithm."""
    found = processes.answered(run) or matched.answered(run, 2) or engines.answered(run) or matched.answered(run, 1)
    question = found.question if found else run.environment.sweep.title or f"What was measured in {run.sweep}?"
    tables = found.tables if found else ()
    sentences = [*(found.sentences if found else ()), *engines.sentences(run)]
    return Answer(
        question=question,
        ran=facts.ran(run),
        machine=run.environment.summary or "an unknown machine",
        tables=tables,
        sentences=tuple(dict.fromkeys(sentences))[:MOST_SENTENCES],
        noise=facts.noise(run, tables),
        failures=tuple(facts.failures(run)),
    )
