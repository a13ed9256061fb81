"""Where a timed function is tried: meta-parameters and a few tasks, with what `loop` gives there.

In single precision, one ReLU or max-pool may switch that does not switch in float64. A long inner loop turns that into
a tenth of the direction and more, in which a wrong direction could hide. So tasks are drawn until there are enough on
which the inner loop ends alike in both precisions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.correctness.gate import nudge
from metabench.correctness.outer_update import doubled
from metabench.engines import loop
from metabench.engines.base import Step
from metabench.tasks.base import TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Params, Task, cast, task_at, task_of, tensors_of

P = ParamSpec("P")
R = TypeVar("R")

DISTINCT = 3
"""Different tasks that an episode batch is made of."""
DRAWN = 8
"""Tasks that are drawn at most, for each scale, to find so many that are steady."""
SCALES = (1.0, 10.0)
"""What meta-parameters are multiplied by, in the order in which it is tried. Behind a batch norm, larger weights move
relatively less in an inner step, so that fewer kinks are crossed."""
UNITS = {"float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
"""Spacing of the numbers just above 1 in which products are computed, by precision."""
STEADY = (16.0, 256.0)
"""How many units the objective of a steady task may be off, relative to itself: tasks within the first are looked for
at each scale before those within the second. Where nothing switches it is off by about 1, else by 100 and more."""
SHAKEN = 8.0
"""How many units inputs are shaken by to find out what rounding can do at most."""
SHAKES = 2


class Precise(Protocol):
    """What makes a function compute in the precision of the cell."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


Directions = Sequence[tuple[Params, Tensor]]
"""The direction and the loss of each task."""


@dataclass(frozen=True)
class Point:
    """Meta-parameters, a few tasks, and their directions by `loop`: in float64, and in the precision of the cell."""

    meta: Params
    tasks: Task
    truth: Directions
    rounded: Directions


@dataclass
class _Drawn:
    """Tasks that were drawn for some meta-parameters, and by how many units the objective of each is off."""

    meta: Params
    tasks: list[Task] = field(default_factory=list)
    off: list[float] = field(default_factory=list)


@dataclass
class Points:
    """The points at which a timed function is tried, as many as are asked for; each is computed once."""

    algorithm: Algorithm
    distribution: TaskDistribution
    meta: Params
    """Initial meta-parameters, on the device and in the type that they have there."""
    precision: str
    precise: Precise
    agree: Callable[[bool], bool]
    """Whether all processes say so: they choose the same tasks."""
    found: dict[int, Point] = field(default_factory=dict)
    _moved: dict[int, list[Directions]] = field(default_factory=dict)

    def __getitem__(self, number: int) -> Point:
        if number not in self.found:
            self.found[number] = self._made(number)
        return self.found[number]

    def shaken(self, number: int) -> list[Directions]:
        """Directions in float64 after shaking every number by a few units, some times: kinks that switch count."""
        if number not in self._moved:
            self._moved[number] = self._shaken(self[number])
        return self._moved[number]

    def _made(self, number: int) -> Point:
        generator = torch.Generator().manual_seed(2 + number)  # the gate has 0 and 1
        own = {name: p.cpu() for name, p in self.meta.items()}
        nudged = {name: p.to(self.meta[name]) for name, p in nudge(own, generator).items()}
        drawn = [_Drawn({name: scale * p for name, p in nudged.items()}) for scale in SCALES]
        steady = (found for units in STEADY for each in drawn if (found := self._steady(each, units, generator)))
        meta, chosen = next(steady, None) or (drawn[0].meta, drawn[0].tasks[:DISTINCT])
        tasks = task_of([torch.cat(tensors) for tensors in zip(*map(tensors_of, chosen), strict=True)])
        truth = self._directions(loop.build(self.algorithm), doubled(meta), self._double(tasks))
        if self.precision == "float64":
            return Point(meta, tasks, truth, truth)
        return Point(meta, tasks, truth, self._directions(self.precise(loop.build(self.algorithm)), meta, tasks))

    def _steady(self, drawn: _Drawn, units: float, generator: torch.Generator) -> tuple[Params, list[Task]] | None:
        """Tasks whose objective is off by so many units at most, and their meta-parameters; None if there are few.

        Tasks are drawn one by one, until there are enough.
        """
        found: list[Task] = []
        for number in range(DRAWN):
            if len(found) + DRAWN - number < DISTINCT:  # too few are left
                break
            if number == len(drawn.tasks):
                drawn.tasks.append(sampled(self.distribution, "train", 1, generator, self._like))
                drawn.off.append(self._off(drawn.meta, drawn.tasks[number]))
            if self.agree(drawn.off[number] <= units):
                found.append(drawn.tasks[number])
            if len(found) == DISTINCT:
                return drawn.meta, found
        return None

    def _off(self, meta: Params, task: Task) -> float:
        """Units by which the objective in the precision of the cell is off, relative to that in float64."""
        if self.precision == "float64":
            return 0.0
        objective = self.algorithm.objective
        with torch.no_grad():
            exact = float(objective(doubled(meta), doubled(meta), task_at(self._double(task), 0)))
            rounded = float(self.precise(objective)(meta, meta, task_at(task, 0)))
        if rounded == exact:
            return 0.0
        return abs(rounded - exact) / (UNITS[self.precision] * abs(exact)) if exact else float("inf")

    def _shaken(self, point: Point) -> list[Directions]:
        generator = torch.Generator().manual_seed(0)
        amount = SHAKEN * UNITS[self.precision]

        def shaken(p: Tensor) -> Tensor:
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.device)
            return p.double() * (1 + amount * noise) if p.is_floating_point() else p

        found = []
        for _ in range(SHAKES):
            meta = {name: shaken(p) for name, p in point.meta.items()}
            tasks = task_of([shaken(tensor) for tensor in tensors_of(point.tasks)])
            found.append(self._directions(loop.build(self.algorithm), meta, tasks))
        return found

    @cached_property
    def _like(self) -> Tensor:
        return next(iter(self.meta.values())).new_empty(())

    def _double(self, tasks: Task) -> Task:
        return cast(tasks, self._like.double())

    @staticmethod
    def _directions(step: Step, meta: Params, tasks: Task) -> Directions:
        found = []
        for i in range(DISTINCT):
            direction, metrics = step(meta, task_at(tasks, slice(i, i + 1)))
            found.append((doubled(direction), metrics["loss"].double()))
        return found
