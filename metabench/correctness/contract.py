"""The contract: what every algorithm promises beside a right direction, a clause for each promise."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from metabench.correctness import clauses
from metabench.correctness.case import Case
from metabench.correctness.clauses import Outcome
from metabench.errors import Unsupported, in_short

Word: TypeAlias = Literal["ok", "incorrect", "unsupported"]
Clause: TypeAlias = Callable[[Case], Outcome]
CLAUSES: dict[str, Clause] = {
    clause.__name__.replace("_", " "): clause
    for clause in (
        clauses.gradient,
        clauses.checkpoint,
        clauses.first_order,
        clauses.inner_optimizer,
        clauses.adapts,
        clauses.frozen,
        clauses.order_of_tasks,
        clauses.one_task,
        clauses.order_of_examples,
        clauses.precision,
        clauses.repeatable,
        clauses.matched,
        clauses.pure,
        clauses.trajectory,
        clauses.running_statistics,
    )
}


class Finding(NamedTuple):
    """A clause, and what came of it."""

    clause: str
    word: Word
    figure: float
    reason: str


def check_contract(case: Case) -> Iterator[Finding]:
    """Try all clauses; raises `Unsupported` for a case that the algorithm cannot be built for."""
    case.algorithm()
    for name, clause in CLAUSES.items():
        try:
            figure, fault = clause(case)
        except Unsupported as error:
            yield Finding(name, "unsupported", float("nan"), str(error))
        except Exception as error:  # whatever somebody else's code raises is the verdict on it
            yield Finding(name, "incorrect", float("inf"), f"it raises {type(error).__name__}: {in_short(error)}")
        else:
            yield Finding(name, "incorrect" if fault else "ok", figure, fault)
