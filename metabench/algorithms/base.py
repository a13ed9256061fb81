"""The algorithm contract, what an algorithm learns with, and the registry."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.inner_loop import last
from metabench.algorithms.presets import Preset
from metabench.autodiff import FUNCTIONAL, Autodiff, Scalar
from metabench.errors import Unsupported, UserError
from metabench.models.base import Model
from metabench.record.cell import BatchNorm, InnerOptimizer, SecondOrder
from metabench.registry import Registry, described
from metabench.tasks.base import Kind
from metabench.tensors import Batch, Params, Task


@dataclass(frozen=True)
class Learner:
    """A model with the loss and the score of its kind of task."""

    model: Model
    kind: Kind
    classes: int = 0
    """Classes of the training split (an image turned by a quarter counts as another class); 0 in regression."""

    @property
    def held(self) -> frozenset[str]:
        """Names of the model's parameters that inner loops leave as they are; the outer loop learns them."""
        return getattr(self.model, "held", frozenset())

    @property
    def norm_names(self) -> frozenset[str]:
        """Names of the scales and shifts of the model's batch normalisation."""
        return getattr(self.model, "norm_names", frozenset())

    @cached_property
    def head_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the parameters of the model's head, by name."""
        params = self.model.init(torch.Generator())
        return {name: tuple(p.shape) for name, p in params.items() if name in self.model.head_names}

    @property
    def feature_count(self) -> int:
        """How many features of an example the head takes; raises `Unsupported` if it is not one linear layer."""
        shapes, outputs = list(self.head_shapes.values()), self.model.outputs
        weights = [shape for shape in shapes if len(shape) == 2 and outputs in shape]
        if len(weights) != 1 or [shape for shape in shapes if shape not in weights] not in ([], [(outputs,)]):
            raise Unsupported(
                "the head of this network is not one linear layer, and its features cannot be counted: "
                "let the network end in a linear layer, and name that as the head"
            )
        return math.prod(weights[0]) // outputs

    def predict(self, params: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, outputs)"""
        return self.model.head(params, self.model.features(params, x))

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats, or mean squared error, of the batch: a scalar."""
        return self.loss_of(self.predict(params, batch.x), batch.y)

    def loss_of(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of outputs that are already there."""
        if self.kind == "classification":
            return F.cross_entropy(outputs, y)
        return F.mse_loss(outputs, y, reduction="sum") / y.numel()  # forward mode fails at a mean: pytorch issue 123996

    def score_of(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Accuracy in [0, 1], or mean squared error, of outputs: a scalar."""
        if self.kind == "classification":
            return (outputs.argmax(-1) == y).to(outputs.dtype).mean()
        return F.mse_loss(outputs, y)

    def body(self, params: Params) -> Params:
        """The model's parameters without those of its head."""
        return {name: p for name, p in params.items() if name not in self.model.head_names}

    def one_hot(self, y: Tensor, like: Tensor) -> Tensor:
        """(examples,) -> (examples, ways), of the dtype and on the device of `like`."""
        return torch.eye(self.model.outputs, dtype=like.dtype, device=like.device)[y]


Family: TypeAlias = Literal["gradient-based", "metric-based", "model-based", "baseline"]
Order: TypeAlias = Literal["second", "first", "implicit", "none"]


@dataclass(frozen=True)
class Algorithm(ABC):
    """How one task adapts, and which direction it gives the meta-parameters: pure functions of tensors.

    A subclass defines `trajectory` and `objective`, and may replace any other method but `adapt`. It registers itself
    with `ALGORITHMS.register(name)`, or is named by its path. Everything is for one task; the engine decides how an
    episode batch is executed. Raises `Unsupported` for a kind of task or a technique that the algorithm has no use for.
    """

    learner: Learner
    inner_lr: float
    inner_steps: int
    autodiff: Autodiff = FUNCTIONAL
    inner_optimizer: InnerOptimizer = "sgd"
    first_order: bool = False
    """Take the inner gradients as constants (`order` = second only)."""
    checkpoint: bool = False
    """Keep the adapted parameters of each inner step alone, and compute the rest again (`order` = second only)."""
    second_order: SecondOrder = "reverse"
    """How inner gradients are differentiated (`order` = second only): `reverse` keeps their graphs;
    `forward-over-reverse` keeps the adapted parameters of each inner step, and differentiates along a tangent."""
    kept_steps: int = 0
    """Most inner steps whose adapted parameters `forward-over-reverse` keeps at once; 0: all."""

    family: ClassVar[Family] = "gradient-based"
    order: ClassVar[Order] = "second"
    """What derivatives of the adaptation the direction contains: `second` differentiates through it, `first` takes it
    as constant, `implicit` solves for its derivative, `none` has no inner loop."""
    source: ClassVar[str] = ""
    """Paper and equation."""
    presets: ClassVar[Mapping[str, Preset]] = {}
    """`PRESET/TASK[-WAYSway[-SHOTSshot]]` -> hyper-parameters; the most specific key counts."""
    kinds: ClassVar[tuple[Kind, ...]] = ("classification", "regression")
    """The kinds of task that it can learn."""
    any_ways: ClassVar[bool] = False
    """Whether meta-parameters that were learned on some number of ways can be used with another."""
    learns_held: ClassVar[bool] = True
    """Whether it learns parameters that its inner loop leaves (`Learner.held`)."""
    query_loss: ClassVar[bool] = True
    """Whether the direction of a task takes the loss on its query set after adaptation."""
    scheduled: ClassVar[tuple[str, ...]] = ()
    """Numbers among its fields that `at` changes and that `objective` takes as a tensor of one number, too: what an
    engine compiles then reads them as data, and serves for all their values but 0, which may leave work out."""
    symmetric: ClassVar[bool] = True
    """Whether the order of the classes, and of the examples, makes no difference."""

    running: ClassVar[bool] = True
    """Whether a population's statistics can take the place of all batch statistics that predictions depend on."""

    @property
    def batch_statistics(self) -> bool:
        """Whether what is predicted of a query depends on the other queries of its batch."""
        return self.learner.model.batch_statistics

    def check_batch_norm(self, batch_norm: BatchNorm) -> None:
        """Raise `Unsupported` for `running` statistics where they cannot take the place of the batch's."""
        if batch_norm == "running" and not self.running:
            raise Unsupported(
                f"{type(self).__name__} keeps no running statistics of its own: choose another batch_norm"
            )

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.learner.kind not in self.kinds:
            raise Unsupported(f"{name} is for {' and '.join(self.kinds)} tasks, not for {self.learner.kind}")
        if self.learner.held and not self.learns_held:
            raise Unsupported(
                f"{name} learns by what its inner loop moves, and inner loops leave some parameters of this network: "
                "choose a network that holds none, such as conv4-64"
            )
        if self.first_order and self.order != "second":
            raise Unsupported(f"{name} does not differentiate through its inner loop: first_order has nothing to drop")
        if self.order != "second":
            check_without_second_order(name, self.checkpoint, self.second_order)
        if self.second_order != "reverse" and self.checkpoint:
            raise Unsupported("forward-over-reverse keeps no graph of an inner step: checkpoint has nothing to save")
        if self.kept_steps < 0:
            raise UserError(f"kept_steps takes a number of steps, or 0 for all of them, not {self.kept_steps}")
        if self.second_order == "reverse" and self.kept_steps:
            raise Unsupported("kept_steps is for second_order = forward-over-reverse, which keeps parameters alone")
        if self.inner_optimizer != "sgd" and self.order == "none":
            raise Unsupported(f"{name} has no inner loop for the inner optimiser {self.inner_optimizer}")

    def init(self, generator: torch.Generator) -> Params:
        """Fresh meta-parameters (float32, CPU)."""
        return self.learner.model.init(generator)

    @abstractmethod
    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        """The adapted parameters after 0, 1, … `inner_steps` inner steps on the support set."""

    def adapt(self, meta: Params, support: Batch) -> Params:
        """The adapted parameters: the end of the trajectory."""
        return last(self.trajectory(meta, support))

    def effective(self, adapted: Params) -> Params:
        """The model's parameters in what `adapt` gives."""
        return adapted

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, outputs), by what `adapt` gives."""
        return self.learner.predict(self.effective(adapted), x)

    def adapted_names(self, meta: Params) -> frozenset[str]:
        """Names of the meta-parameters that the inner loop moves; it leaves all others as they are."""
        return frozenset() if self.order == "none" else frozenset(meta) - self.learner.held

    def at(self, progress: float) -> Self:
        """The algorithm as it is when this share in [0, 1] of the meta-training is done, in steps of a hundredth."""
        return self

    def inner_gradient(self, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        """`gradient_and_value` of a loss as the inner loop takes it: constant where the algorithm is first-order."""
        if self.first_order:
            return self.autodiff.constant_gradient_and_value(loss)
        if self.second_order == "forward-over-reverse":
            return self.autodiff.tangent_gradient_and_value(loss)
        return self.autodiff.gradient_and_value(loss)

    @abstractmethod
    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        """The algorithm's own definition: a scalar whose gradient in `meta` at `anchor` = `meta` is the direction.

        The algorithm computes from `anchor` what it holds constant, so first-order methods, too, have a definition that
        finite differences can be taken of.
        """

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        """What one task contributes to the outer optimiser, and scalar metrics (`loss`)."""
        direction, loss = self.autodiff.gradient_and_value(self.objective)(meta, meta, task)
        return direction, {"loss": loss}


def check_without_second_order(name: str, checkpoint: bool, second_order: SecondOrder) -> None:
    """Raise `Unsupported` for techniques that what never differentiates inner gradients has no use for."""
    if checkpoint:
        raise Unsupported(f"{name} keeps no graph of its inner loop: checkpoint has nothing to save")
    if second_order != "reverse":
        raise Unsupported(f"{name} does not differentiate inner gradients: second_order has no say")


def accepted(found: object) -> type[Algorithm]:
    """What a name by path stands for, as an algorithm. Raises `UserError` for anything but a whole `Algorithm`."""
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UserError(f"it is {described(found)}, where a class that derives from Algorithm is needed")
    if inspect.isabstract(found):
        raise UserError(f"it does not define {' and '.join(sorted(found.__abstractmethods__))}")
    return found


ALGORITHMS: Registry[type[Algorithm]] = Registry("algorithm", "metabench.algorithms", accept=accepted)


def parameter_count(params: Params) -> int:
    """How many numbers the parameters hold."""
    return sum(math.prod(p.shape) for p in params.values())
