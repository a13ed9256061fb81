"""How far a direction is from central differences of the algorithm's own definition, which know no automatic
differentiation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import recording_into, replaying
from metabench.correctness.kinks import Holding, Noting, OtherCalls, Sides
from metabench.tensors import Params, Task, flat, task_at

DEFINITION_TOLERANCE = 1e-5
"""Largest relative error against the definition: right directions reach 1e-10, without second order 1e-1."""
DIFFERENCES = (1e-5, 1e-6, 1e-7)
"""Steps of the central differences, in the order in which they are tried: each as it is, then with kinks held. The best
one counts: a kink inside one of them spoils that difference and not the gradient, while a wrong gradient is wrong at
all."""
CLEAR = 0.1
"""The share of what is allowed at which a difference agrees clearly. Then no other is tried, since each costs two
evaluations of the objective."""
FINER = (1e-8, 1e-9)
"""Finer steps, for where none of these agrees: a network may have kinks that are not among those held."""


def nan_last(error: float) -> float:
    """An error to be compared with others: one that is no number counts as the largest."""
    return error if error == error else float("inf")


def definition_error(
    algorithm: Algorithm, meta: Params, episodes: Task, direction: Params, generator: torch.Generator
) -> float:
    """The error of `direction` along itself and two random directions, relative to its norm.

    A component along a random unit vector is small where there are many parameters, so its error is taken
    relative to the typical size of such a component.
    """
    tasks = [task_at(episodes, i) for i in range(episodes.support.x.shape[0])]
    objectives = [_Objective(algorithm, meta, task, _constants(algorithm, meta, task)) for task in tasks]

    def objective(point: Params, held: bool) -> float:
        return sum(one(point, held) for one in objectives) / len(objectives)

    gradient = flat(direction)
    norm = float(gradient.norm())
    typical = 1 / gradient.numel() ** 0.5
    probes = [(gradient / norm if norm > 0 else gradient, 1.0)]
    for _ in range(2):
        random = torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype).to(gradient.device)
        probes.append((random / random.norm(), typical))
    errors, first = [], Way(DIFFERENCES[0])
    for along, scale in probes:
        unit = scale * norm if norm > 0 else 1.0
        slope = float(gradient @ along)
        found = _best_difference(objective, meta, along, slope, DEFINITION_TOLERANCE * unit, first)
        errors.append(found.error / unit)
        first = found.way
    return max(errors, key=nan_last)


@dataclass(frozen=True)
class _Objective:
    """The objective of one task as a function of the meta-parameters alone, about the point `meta`."""

    algorithm: Algorithm
    meta: Params
    task: Task
    constants: list[tuple[Params, Tensor]]

    def __call__(self, point: Params, held: bool) -> float:
        """The value at `point`, with kinks held as they are at `meta` or not; NaN where they cannot be held."""
        if not held:
            return self._at(point)
        sides = self._sides
        try:
            with Holding(sides):
                return self._at(point)
        except OtherCalls:
            return float("nan")

    def _at(self, point: Params) -> float:
        with torch.no_grad():
            algorithm = replace(self.algorithm, autodiff=replaying(self.constants))
            return float(algorithm.objective(point, self.meta, self.task))

    @cached_property
    def _sides(self) -> Sides:
        sides: Sides = []
        with Noting(sides):
            self._at(self.meta)
        return sides


def _constants(algorithm: Algorithm, meta: Params, task: Task) -> list[tuple[Params, Tensor]]:
    """What the algorithm takes as constant in its inner loop, if it is first-order: it stays when `meta` moves."""
    record: list[tuple[Params, Tensor]] = []
    with torch.no_grad():
        replace(algorithm, autodiff=recording_into(record)).objective(meta, meta, task)
    return record


class Way(NamedTuple):
    """How a central difference is taken: how far its ends lie from the middle, and whether kinks are held."""

    size: float
    held: bool = False


class Difference(NamedTuple):
    """The error of a central difference, and how it was taken."""

    error: float
    way: Way


USUAL = tuple(Way(size, held) for size in DIFFERENCES for held in (False, True))
"""The usual ways, in the order in which they are tried."""


def _best_difference(
    objective: Callable[[Params, bool], float],
    meta: Params,
    along: Tensor,
    slope: float,
    allowed: float,
    first: Way = USUAL[0],
) -> Difference:
    """The difference with the least error of those that are tried.

    The way that is told to be tried `first` did best along another direction. The first difference that agrees
    clearly ends the search. Finer ones are tried where none of the usual ones is within what is allowed.
    """

    def difference(way: Way) -> Difference:
        ends = [objective(_shift(meta, size * along), way.held) for size in (way.size, -way.size)]
        return Difference(abs((ends[0] - ends[1]) / (2 * way.size) - slope), way)

    best = difference(first)
    for way in (*USUAL, *map(Way, FINER)):
        if best.error <= (allowed if way.size in FINER else CLEAR * allowed):
            break
        if way != first:
            best = min(difference(way), best, key=lambda found: nan_last(found.error))
    return best


def _shift(params: Params, by: Tensor) -> Params:
    parts = torch.split(by, [p.numel() for p in params.values()])
    return {name: p + part.view_as(p) for (name, p), part in zip(params.items(), parts, strict=True)}
