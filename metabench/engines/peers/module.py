"""What libraries for torch.nn share here: our network as modules, the loop over tasks, what they are not asked for."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Any, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

from metabench.algorithms.anil import ANIL
from metabench.algorithms.base import Algorithm
from metabench.algorithms.fomaml import FOMAML
from metabench.algorithms.inner_optimizers import MOMENTUM
from metabench.algorithms.maml import MAML
from metabench.algorithms.meta_sgd import MetaSGD
from metabench.algorithms.reptile import Reptile, minibatches
from metabench.engines.base import Step, mean_over_tasks
from metabench.errors import Unsupported
from metabench.extras import INSTALL
from metabench.tensors import Batch, Params, Task

CARRIED = (MAML, FOMAML, Reptile, ANIL, MetaSGD)
"""Algorithms that the peers carry. A subclass, or a plug-in, computes something else."""

TaskDirection: TypeAlias = Callable[[Params, Task], tuple[Params, dict[str, Tensor]]]
"""Function like `Algorithm.task_direction`."""


class Layer(nn.Module):
    """Parameters alone, of a class of their own: higher cannot patch a bare `nn.Module`."""


class Part(nn.Module):
    """A function of some of our parameters, as the module that has them: `conv1.weight` is `weight` of `conv1`.

    It looks its parameters up in each call, by attribute: whatever a library puts in their places is used.
    """

    def __init__(self, function: Callable[[Params, Tensor], Tensor], params: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.function = function
        for name, p in params.items():
            owner: nn.Module = self
            *path, leaf = name.split(".")
            for step in path:
                if not hasattr(owner, step):
                    owner.add_module(step, Layer())
                owner = owner.get_submodule(step)
            owner.register_parameter(leaf, p)
        self.names = tuple(name for name, _ in self.named_parameters())
        """Names of the parameters in the order of `parameters()`, which libraries keep to."""
        self.places = tuple((name, attrgetter(name)) for name in self.names)

    def forward(self, x: Tensor) -> Tensor:
        return self.function({name: get(self) for name, get in self.places}, x)


@dataclass(frozen=True)
class Network:
    """The learner's model in two modules: what the inner loop leaves as it is, and what it adapts."""

    body: nn.Module
    """(examples, *input_shape) -> what `inner` takes: the features for ANIL, for all others the same again."""
    inner: Part
    """What `body` gives -> (examples, outputs)"""
    rates: list[nn.Parameter]
    """Rates of Meta-SGD in the order of `inner.parameters()`; else empty."""
    leaves: dict[str, nn.Parameter]
    """All meta-parameters: those of both modules and the rates."""

    @classmethod
    def of(cls, algorithm: Algorithm, meta: Params) -> Self:
        """The network of the algorithm's learner, where the meta-parameters are."""
        leaves = {name: nn.Parameter(p.detach()) for name, p in meta.items()}
        model = algorithm.learner.model
        if type(algorithm) is ANIL:
            head = {name: p for name, p in leaves.items() if name in model.head_names}
            body = {name: p for name, p in leaves.items() if name not in head}
            return cls(Part(model.features, body), Part(model.head, head), [], leaves)
        adapted = algorithm.adapted_names(meta)
        held = {name: p for name, p in leaves.items() if name in algorithm.learner.held}
        inner = Part(
            lambda params, x: algorithm.learner.predict({**held, **params}, x),
            {name: p for name, p in leaves.items() if name in adapted},
        )
        rates = [leaves[f"rate.{name}"] for name in inner.names] if type(algorithm) is MetaSGD else []
        return cls(nn.Identity(), inner, rates, leaves)

    def hold(self, meta: Params) -> None:
        """Look at these meta-parameters from now on: nothing is copied, and none of the libraries writes to them.

        Autocast does not see the change: around more than one step, its cache of weights must be off.
        """
        for name, leaf in self.leaves.items():
            leaf.data = meta[name]

    def gradient(self, loss: Tensor, fast: Iterable[Tensor] = ()) -> tuple[Params, dict[str, Tensor]]:
        """∇loss in the meta-parameters, and the metrics; in `fast`, for first-order methods, where that is given.

        `fast`: the adapted parameters, in the order of `inner.parameters()`.
        """
        inputs: dict[str, Tensor] = {**self.leaves, **dict(zip(self.inner.names, fast, strict=False))}
        gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(self.leaves, gradients, strict=True)), {"loss": loss.detach()}

    def difference(self, loss: Tensor, fast: Iterable[Tensor]) -> tuple[Params, dict[str, Tensor]]:
        """Reptile's direction, from the meta-parameters' distance to the adapted ones, and the metrics.

        `loss`: that of the last minibatch, before the step.
        """
        adapted = dict(zip(self.inner.names, fast, strict=True))
        direction = {name: leaf.detach() - adapted[name].detach() for name, leaf in self.leaves.items()}
        return direction, {"loss": loss.detach()}

    def batches(self, algorithm: Algorithm, task: Task) -> Iterator[Batch]:
        """What the inner steps descend on, one batch for each, ready for `inner`."""
        if type(algorithm) is Reptile:
            return minibatches(task, algorithm.inner_steps)
        return repeat(Batch(self.body(task.support.x), task.support.y), algorithm.inner_steps)


def step_of(algorithm: Algorithm, set_up: Callable[[Network], TaskDirection]) -> Step:
    """A step that goes through the tasks as the libraries' users do; modules are made, once, in the first call."""
    made: dict[torch.device, tuple[Network, Step]] = {}

    def step(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
        device = episodes.support.x.device
        if device not in made:
            network = Network.of(algorithm, meta)
            made[device] = network, mean_over_tasks(set_up(network))
        network, over_tasks = made[device]
        network.hold(meta)
        with torch.enable_grad():
            return over_tasks(meta, episodes)

    return step


def differentiates(algorithm: Algorithm) -> bool:
    """Whether the outer gradient goes through the inner gradients."""
    return algorithm.order == "second" and not algorithm.first_order


def momentum(algorithm: Algorithm) -> float:
    """Momentum of the inner optimiser; 0 for plain descent."""
    return MOMENTUM if algorithm.inner_optimizer == "momentum" else 0.0


def refuse_others(
    algorithm: Algorithm, library: str, carried: tuple[type[Algorithm], ...], inner_optimizers: tuple[str, ...]
) -> None:
    """Raise `Unsupported` for what the library's primitives do not compute."""
    if type(algorithm) not in carried:
        raise Unsupported(f"{library} has no primitive for {type(algorithm).__name__}")
    if algorithm.checkpoint:
        raise Unsupported(f"{library} cannot recompute inner steps: use the engine loop")
    if algorithm.second_order != "reverse":
        raise Unsupported(f"{library} differentiates inner gradients by their graphs: use the engine loop")
    if algorithm.inner_optimizer not in inner_optimizers:
        raise Unsupported(f"{library} has no inner optimiser that computes what {algorithm.inner_optimizer} does here")


def installed(library: Literal["higher", "jax", "learn2learn", "torchopt"]) -> Any:
    """The library's module, imported when an engine is first built; raises `Unsupported` saying how to install it."""
    how = INSTALL[library]
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library:
            raise Unsupported(f"{library} is not installed: {how}") from error
        raise Unsupported(f"{library} needs {error.name}, which is not installed: {how}") from error
