"""The noise configuration: one cell that a run times again and again, in two processes each, to learn its noise."""

from collections.abc import Sequence
from typing import TypeVar

from metabench.engines.base import in_process
from metabench.record.cell import Cell
from metabench.record.measurement import SIDES

FEWEST_PAIRS = 2  # one says nothing of how pairs vary
T = TypeVar("T")


def noise_cell(cells: Sequence[Cell]) -> Cell | None:
    """The first cell to be timed whose engine needs no library and no compiling, or else the first to be timed; None
    where nothing is timed.

    The smallest would not do: an author writes down first what a sweep is about, and noise depends on what is run.
    Compiling would cost each of its processes much and is no part of a step.
    """
    timed = [cell for cell in cells if "time" in cell.measure]
    plain = [cell for cell in timed if cell.engine in in_process()]
    return next(iter(plain or timed), None)


def pairs_for(wanted: int, timed_jobs: int) -> int:
    """Number of pairs: as many as wanted, but of no more processes than the cells take, or else the fewest."""
    return min(wanted, max(FEWEST_PAIRS, timed_jobs // len(SIDES)))


def spread(jobs: Sequence[T], pairs: Sequence[Sequence[T]]) -> list[T]:
    """The jobs with the pairs between them at even intervals, the first before all jobs, the last after."""
    gaps = max(1, len(pairs) - 1)
    places = [len(jobs) * i // gaps for i in range(len(pairs))]
    mixed: list[T] = []
    for i in range(len(jobs) + 1):
        mixed += [job for place, pair in zip(places, pairs, strict=True) if place == i for job in pair]
        mixed += jobs[i : i + 1]
    return mixed
