"""What the clauses of the contract are tried on: an algorithm, a model and tasks, in float64 on the CPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from metabench.algorithms.base import Algorithm, Learner
from metabench.autodiff import TAPE
from metabench.correctness.gate import DEFINITION_TOLERANCE, GATE_TASKS, definition_error, nudge, relative_error
from metabench.engines import loop
from metabench.engines.base import ENGINES, Step
from metabench.errors import Unsupported
from metabench.tasks.base import TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Params, Task, task_at

Found: TypeAlias = tuple[Params, dict[str, torch.Tensor]]
"""Direction and metrics."""
STEPS = 3


@dataclass(frozen=True)
class Case:
    """An algorithm, a model and tasks. Meta-parameters and episodes are fresh copies at each access, so that an
    algorithm that writes to them spoils no other clause."""

    build: Callable[..., Algorithm]
    """The algorithm's class."""
    learner: Learner
    inner_lr: float
    distribution: TaskDistribution

    def algorithm(self, **changes: object) -> Algorithm:
        """The algorithm on the tape, with `STEPS` inner steps and these changes."""
        settings = {"inner_lr": self.inner_lr, "inner_steps": STEPS, "autodiff": TAPE} | changes
        return self.build(self.learner, **settings)

    @property
    def meta(self) -> Params:
        """Meta-parameters of `algorithm()`, all of them nudged."""
        return {name: p.clone() for name, p in self._meta.items()}

    @property
    def episodes(self) -> Task:
        """An episode batch of `GATE_TASKS` tasks."""
        return task_at(self._episodes, list(range(GATE_TASKS)))

    @property
    def task(self) -> Task:
        """The first task of `episodes`."""
        return task_at(self.episodes, 0)

    @cached_property
    def found(self) -> dict[str, Found]:
        """The direction and metrics at `meta` on `episodes`, by engine."""
        return {engine: step(self.meta, self.episodes) for engine, step in steps_of(self.algorithm())}

    def definition_error(self, algorithm: Algorithm) -> float:
        """The error of the direction of `loop` on the first task, against differences; the better of two points counts.

        A ReLU so near to its kink that it switches within every difference spoils one of them; a wrong gradient is
        wrong at both.
        """
        episodes, error = task_at(self.episodes, [0]), float("inf")
        for seed in (0, 1):
            if not error <= DEFINITION_TOLERANCE:
                meta = nudged(algorithm, seed)
                direction, _ = loop.build(algorithm)(meta, episodes)
                error = definition_error(algorithm, meta, episodes, direction, torch.Generator().manual_seed(seed))
        return error

    @cached_property
    def _meta(self) -> Params:
        return nudged(self.algorithm())

    @cached_property
    def _episodes(self) -> Task:
        generator = torch.Generator().manual_seed(0)
        return sampled(self.distribution, "train", GATE_TASKS, generator, torch.zeros((), dtype=torch.float64))


def initial(algorithm: Algorithm) -> Params:
    """Initial meta-parameters of an algorithm, in float64."""
    return {name: p.double() for name, p in algorithm.init(torch.Generator().manual_seed(0)).items()}


def nudged(algorithm: Algorithm, seed: int = 0, models_own: bool = False) -> Params:
    """Initial meta-parameters with noise on all of them, or on the model's own alone."""
    names = algorithm.learner.model.init(torch.Generator()).keys() if models_own else None
    return nudge(initial(algorithm), torch.Generator().manual_seed(seed), names)


def steps_of(algorithm: Algorithm) -> Iterator[tuple[str, Step]]:
    """The algorithm on `loop`, and on `vmap` where that engine can carry it."""
    yield "loop", loop.build(algorithm)
    try:
        step = ENGINES.get("vmap").build(algorithm)
    except Unsupported:
        return
    yield "vmap", step


def distance(found: Found, truth: Found) -> float:
    """The larger relative error of direction and metrics; infinite for NaN."""
    errors = [relative_error(mine, its) for mine, its in zip(found, truth, strict=True)]
    return max(error if error == error else float("inf") for error in errors)
