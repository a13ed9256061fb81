"""The model contract and the registry of named sizes."""

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from metabench.errors import UserError
from metabench.models.module import from_function, from_module
from metabench.registry import Registry, described
from metabench.tensors import Params


class Model(Protocol):
    """A network in two parts, so that what adapts the head alone need not recompute the body.

    Both are pure functions: they write to nothing, draw no random numbers (no dropout), keep no state, and compute in
    the type of what they are given. Any use of statistics over the batch (batch normalisation) is within one call of
    `features`. `metabench verify --model NAME` holds a model to all of this.
    """

    @property
    def outputs(self) -> int: ...
    @property
    def head_names(self) -> frozenset[str]:
        """Names of the head's parameters; all others belong to the body."""
        ...

    @property
    def modulated(self) -> tuple[str, ...]:
        """Names of the scale (if any) and shift of one hidden layer, of shape (units,), that a context can act on.

        Empty where there is no such layer: CAVIA is then `Unsupported`.
        """
        ...

    @property
    def batch_statistics(self) -> bool:
        """Whether an example's features depend on the others of its batch."""
        ...

    # A model may also have `held`: a frozenset of names of parameters of the body that inner loops leave as they are,
    # and that the outer loop alone learns (`Learner.held`). And it may have `norm_names`: a frozenset of names of the
    # scales and shifts of its batch normalisation (`Learner.norm_names`), which MAML++ learns for each inner step.

    def init(self, generator: torch.Generator) -> Params:
        """Fresh float32 parameters on the CPU, a function of the generator's state alone."""
        ...

    def features(self, params: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, features)"""
        ...

    def head(self, params: Params, features: Tensor) -> Tensor:
        """(examples, features) -> (examples, outputs)"""
        ...

    def statistics(self, params: Params, x: Tensor) -> Params:
        """Means and variances (units,) of the batch `x` where the network normalises; empty where it does not.

        Put among the parameters, under names of their own, `features` normalises by them instead of by those of its
        batch: no example's features depend on the others any more.
        """
        ...


ModelFactory: TypeAlias = Callable[[tuple[int, ...], int], Model]
"""`(input_shape, outputs) -> Model`; raises `Unsupported` for an input it cannot take."""


def accepted(found: object) -> ModelFactory:
    """What a name by path stands for, as a model: a factory of models, a class of `nn.Module`, or a function of either.

    Raises `UserError` for anything else.
    """
    if isinstance(found, type) and issubclass(found, nn.Module):
        return from_module(found)
    if isinstance(found, nn.Module):
        kind = type(found).__name__
        raise UserError(f"a model is made anew for each seed, and this is one {kind}: name the class, or a function")
    if not callable(found):
        raise UserError(f"a model is a class of nn.Module, or a function that gives one, and not {described(found)}")
    return cast(ModelFactory, from_function(found))


MODELS: Registry[ModelFactory] = Registry("model", "metabench.models", accept=accepted)


def glorot(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform weights (outputs, inputs, *kernel) of variance 2 / (fan in + fan out) (Glorot and Bengio 2010, eq. 16).

    MAML's authors initialise convolutions so, and other layers otherwise (`models/finn.py`). He's initialisation starts
    the sinusoid network at gradients so steep that an inner step of the published size overshoots, and some runs never
    recover.
    """
    outputs, inputs, *kernel = shape
    bound = math.sqrt(6 / ((inputs + outputs) * math.prod(kernel)))
    return bound * (2 * torch.rand(shape, generator=generator) - 1)
