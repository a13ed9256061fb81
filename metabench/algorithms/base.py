"""The algorithm contract, what an algorithm learns with, and the registry."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.presets import Preset
from metabench.autodiff import FUNCTIONAL, Autodiff
from metabench.models.base import Model
from metabench.registry import Registry
from metabench.tasks.base import Kind
from metabench.tensors import Batch, Params, Task


@dataclass(frozen=True)
class Learner:
    """A model with the loss and the score of its kind of task."""

    model: Model
    kind: Kind

    def predict(self, params: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, outputs)"""
        return self.model.head(params, self.model.features(params, x))

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats, or mean squared error, of the batch: a scalar."""
        return self.loss_of(self.predict(params, batch.x), batch.y)

    def loss_of(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of outputs that are already there."""
        return F.cross_entropy(outputs, y) if self.kind == "classification" else F.mse_loss(outputs, y)

    def score_of(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Accuracy in [0, 1], or mean squared error, of outputs: a scalar."""
        if self.kind == "classification":
            return (outputs.argmax(-1) == y).to(outputs.dtype).mean()
        return F.mse_loss(outputs, y)


@dataclass(frozen=True)
class Algorithm(ABC):
    """How one task adapts, and which direction it gives the meta-parameters: pure functions of tensors.

    A subclass registers itself with `ALGORITHMS.register(name)` and defines `trajectory` and `objective`; it may
    replace `init` (to learn more than the model's parameters), `predict` (to predict otherwise than by the model alone)
    and `task_direction` (to say it more directly).
    Everything is for one task; the engine decides how an episode batch is executed.
    """

    learner: Learner
    inner_lr: float
    inner_steps: int
    autodiff: Autodiff = FUNCTIONAL

    order: ClassVar[Literal["second", "first"]]
    """Whether the direction contains derivatives of the adaptation."""
    source: ClassVar[str]
    """Paper and equation."""
    presets: ClassVar[Mapping[str, Preset]] = {}
    """`PRESET/TASK[-WAYSway[-SHOTSshot]]` -> hyper-parameters; the most specific key counts."""

    def init(self, generator: torch.Generator) -> Params:
        """Fresh meta-parameters (float32, CPU)."""
        return self.learner.model.init(generator)

    @abstractmethod
    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        """The adapted parameters after 0, 1, … `inner_steps` inner steps on the support set."""

    def adapt(self, meta: Params, support: Batch) -> Params:
        """The adapted parameters: the end of the trajectory."""
        return last(self.trajectory(meta, support))

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, outputs), by what `adapt` gives."""
        return self.learner.predict(adapted, x)

    @abstractmethod
    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        """The algorithm's own definition: a scalar whose gradient in `meta` at `anchor` = `meta` is the direction.

        What the algorithm holds constant it computes from `anchor`, so that first-order methods, too, have a
        definition that finite differences can be taken of.
        """

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        """What one task contributes to the outer optimiser, and scalar metrics (`loss`)."""
        direction, loss = self.autodiff.gradient_and_value(self.objective)(meta, meta, task)
        return direction, {"loss": loss}


ALGORITHMS: Registry[type[Algorithm]] = Registry("algorithm", "metabench.algorithms")


def last(trajectory: Iterator[Params]) -> Params:
    """The end of a trajectory, holding no earlier point of it."""
    for point in trajectory:
        adapted = point
    return adapted


def parameter_count(params: Params) -> int:
    """How many numbers the parameters hold."""
    return sum(math.prod(p.shape) for p in params.values())
