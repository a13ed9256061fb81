"""What the clauses of the contracts are tried on: an algorithm, a model or a task distribution, on small inputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from metabench.algorithms.base import Algorithm, Learner
from metabench.autodiff import TAPE
from metabench.correctness.differences import DEFINITION_TOLERANCE, definition_error
from metabench.correctness.gate import GATE_TASKS, nudge, relative_error
from metabench.engines import loop
from metabench.engines.base import ENGINES, Step
from metabench.errors import Unsupported
from metabench.models.base import Model, ModelFactory
from metabench.tasks.base import SPLITS, DeviceTasks, EpisodeShape, Kind, Split, TaskDistribution, splits_of
from metabench.tasks.stream import sampled
from metabench.tensors import Params, Task, task_at

Found: TypeAlias = tuple[Params, dict[str, torch.Tensor]]
"""Direction and metrics."""
STEPS = 3
EXAMPLES = 6
"""Most examples that a model is tried on."""


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

        A kink that is not held, and lies within every difference, spoils one of them. A wrong gradient is wrong at
        both.
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


@dataclass(frozen=True)
class TaskCase:
    """A task distribution, and how large its tasks are to be."""

    build: Callable[[], TaskDistribution]
    shape: EpisodeShape
    kind: Kind
    """The kind of task that it is registered as."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009  (a device is a value)
    asked: tuple[Split, ...] = SPLITS
    """The splits that are to be tried."""

    @cached_property
    def distribution(self) -> TaskDistribution:
        return self.build()

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits to be tried, without those that have no classes to draw."""
        return tuple(split for split in splits_of(self.distribution) if split in self.asked)

    def drawn(self, split: Split, generator: torch.Generator, tasks: int = GATE_TASKS) -> Task:
        """An episode batch just as the distribution makes it: nothing is cast, so that its types are seen."""
        if isinstance(self.distribution, DeviceTasks):
            like = torch.zeros((), dtype=torch.float32, device=self.device)
            return sampled(self.distribution, split, tasks, generator, like)
        return self.distribution.sample(split, tasks, generator)

    @property
    def inputs(self) -> torch.Tensor:
        """A few examples, (examples, *input_shape): of two tasks at least four, so that half of them are a batch."""
        batch = self.batches[self.splits[0]]
        return torch.cat([batch.support.x.flatten(0, 1), batch.query.x.flatten(0, 1)])[:EXAMPLES]

    @cached_property
    def batches(self) -> dict[Split, Task]:
        """An episode batch of each split, all of them from equal generators."""
        return {split: self.drawn(split, torch.Generator().manual_seed(0)) for split in self.splits}


@dataclass(frozen=True)
class ModelCase:
    """A model and inputs that it should take."""

    build: ModelFactory
    input_shape: tuple[int, ...]
    outputs: int
    inputs: torch.Tensor
    """Some examples of a task distribution, as it gives them: (examples, *input_shape)."""

    @cached_property
    def model(self) -> Model:
        return self.build(self.input_shape, self.outputs)

    @property
    def x(self) -> torch.Tensor:
        """A copy of the inputs, in float64 unless they are indices."""
        return self.inputs.double() if self.inputs.is_floating_point() else self.inputs.clone()

    @property
    def params(self) -> Params:
        """Fresh copies of nudged parameters in float64, on the device of the inputs."""
        return {name: p.clone() for name, p in self._params.items()}

    def features_of(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """What the model's head sees, without a graph."""
        with torch.no_grad():
            return self.model.features(params, x)

    def outputs_of(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """What the model predicts, without a graph."""
        with torch.no_grad():
            return self.model.head(params, self.model.features(params, x))

    def outputs_in(self, dtype: torch.dtype) -> torch.Tensor:
        """What the model predicts with parameters and inputs of that type; indices keep theirs."""
        x = self.x.to(dtype) if self.inputs.is_floating_point() else self.x
        return self.outputs_of({name: p.to(dtype) for name, p in self.params.items()}, x)

    @cached_property
    def _params(self) -> Params:
        generator = torch.Generator().manual_seed(0)
        nudged = nudge(self.model.init(generator), generator)
        return {name: p.to(self.inputs.device) for name, p in nudged.items()}


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
