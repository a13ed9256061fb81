"""What trying a promise gives: the outcome of one clause, and the findings of a contract."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import torch

from metabench.errors import Unsupported, in_short
from metabench.tensors import Params

SAME = 1e-12
"""Largest relative difference of two results that are equal but for the order of sums in float64."""
SYMMETRY_TOLERANCE = 1e-9
PRECISION_TOLERANCE = 1e-2
"""Relative error of what is computed in float32: it reaches about 1e-5, and a ReLU that rounding switches adds its
jump."""

UNLIKELY_SEED = 0x9E3779B97F4A7C15
"""A seed that nobody's code sets by chance, so that setting one is seen."""

Word: TypeAlias = Literal["ok", "incorrect", "unsupported"]
Tried = TypeVar("Tried")


class Outcome(NamedTuple):
    """What a clause found."""

    figure: float
    """A relative error, unless the clause says otherwise; infinite where it has no number."""
    fault: str = ""
    """One sentence; empty if the promise is kept."""


class Finding(NamedTuple):
    """A clause, and what came of it."""

    clause: str
    word: Word
    figure: float
    reason: str


KEPT = Outcome(0.0)


def broken(fault: str) -> Outcome:
    """The outcome of a promise that is broken in a way that has no number."""
    return Outcome(float("inf"), fault)


def within(error: float, allowed: float, fault: str) -> Outcome:
    """The outcome of an error; NaN is never allowed."""
    return Outcome(error, "" if error <= allowed else f"{fault} by {error:.1e} (allowed {allowed:.0e})")


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The first outcome that is broken, else the one with the largest figure."""
    found = list(outcomes)
    return next((outcome for outcome in found if outcome.fault), max(found))


def equal(some: Params, others: Params) -> bool:
    """Whether both have the same names and the same bits."""
    return some.keys() == others.keys() and all(torch.equal(p, others[name]) for name, p in some.items())


@contextmanager
def watched() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether torch's global generator on the CPU was used meanwhile, and restores it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(UNLIKELY_SEED)
        before = torch.get_rng_state()
        yield lambda: not torch.equal(before, torch.get_rng_state())


def named(clauses: Iterable[Callable[[Tried], Outcome]]) -> dict[str, Callable[[Tried], Outcome]]:
    """The clauses by their names in words."""
    return {clause.__name__.replace("_", " "): clause for clause in clauses}


def findings(clauses: Mapping[str, Callable[[Tried], Outcome]], case: Tried) -> Iterator[Finding]:
    """Try each clause on a case. What a clause raises is its finding: `Unsupported` where nothing is promised."""
    for name, clause in clauses.items():
        try:
            figure, fault = clause(case)
        except Unsupported as error:
            yield Finding(name, "unsupported", float("nan"), str(error))
        except Exception as error:  # whatever somebody else's code raises is the verdict on it
            yield Finding(name, "incorrect", float("inf"), f"it raises {type(error).__name__}: {in_short(error)}")
        else:
            yield Finding(name, "incorrect" if fault else "ok", figure, fault)
