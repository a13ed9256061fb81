"""The inner loop, which gradient-based algorithms share: steps of an optimiser on a sequence of batches."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from typing import Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from metabench.autodiff import Autodiff, Scalar
from metabench.record.cell import InnerOptimizer
from metabench.tensors import Params

B = TypeVar("B")
State: TypeAlias = dict[str, Params]

MOMENTUM = 0.9
BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8


class Holding(Protocol):
    """The part of a learner that an inner loop needs."""

    @property
    def held(self) -> frozenset[str]: ...


class Descending(Protocol):
    """The part of an algorithm that its inner loop needs."""

    @property
    def learner(self) -> Holding: ...
    @property
    def inner_lr(self) -> float: ...
    @property
    def inner_optimizer(self) -> InnerOptimizer: ...
    @property
    def checkpoint(self) -> bool: ...
    @property
    def autodiff(self) -> Autodiff: ...
    def inner_gradient(self, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]: ...


def descend(
    algorithm: Descending,
    loss: Callable[[Params, B], Tensor],
    params: Params,
    batches: Iterable[B],
    rates: Iterable[float | Params] | None = None,
    transform: Callable[[Params, B], Params] | None = None,
) -> Iterator[Params]:
    """Yields φ₀ = params, then φᵢ₊₁ = φᵢ - rateᵢ ∘ U(T(∇L(φᵢ, batchᵢ))) for each batch.

    U is the algorithm's inner optimiser, started anew here; T is `transform`, which sees the batch too; rates are
    numbers or tensors by parameter, one a step (`inner_lr` if left out). Parameters that the learner holds stay as they
    are: of them there is no gradient, and no rate is looked for. The algorithm says whether the steps are
    first-order, and whether they are checkpointed. Hand everything that the direction is differentiated in to L and T
    as arguments: a checkpointed step does not see their closures.
    """
    update = _UPDATES[algorithm.inner_optimizer]
    moved = [name for name in params if name not in algorithm.learner.held]

    def advance(params: Params, state: State, batch: B, rate: float | Params, step: int) -> tuple[Params, State]:
        gradient_of = algorithm.inner_gradient(lambda own, batch: loss({**params, **own}, batch))
        gradient, _ = gradient_of({name: params[name] for name in moved}, batch)
        direction, state = update(transform(gradient, batch) if transform else gradient, state, step)
        rates = rate if isinstance(rate, dict) else dict.fromkeys(moved, rate)
        return {**params, **{name: params[name] - rates[name] * direction[name] for name in moved}}, state

    if algorithm.checkpoint and torch.is_grad_enabled():
        advance = algorithm.autodiff.recomputed(advance)
    state: State = {}
    yield params
    for step, (batch, rate) in enumerate(zip(batches, rates or repeat(algorithm.inner_lr), strict=False)):
        params, state = advance(params, state, batch, rate, step)
        yield params


def _sgd(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    return gradient, state


def _momentum(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    velocity = {name: MOMENTUM * state["velocity"][name] + g for name, g in gradient.items()} if state else gradient
    return velocity, {"velocity": velocity}


def _adam(gradient: Params, state: State, step: int, beta1: float = BETA1) -> tuple[Params, State]:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, with ε inside the root: the root's derivative at zero is finite."""
    mean = {name: (1 - beta1) * g for name, g in gradient.items()}
    square = {name: (1 - BETA2) * g * g for name, g in gradient.items()}
    if state:
        mean = {name: beta1 * state["mean"][name] + m for name, m in mean.items()}
        square = {name: BETA2 * state["square"][name] + s for name, s in square.items()}
    unbias1, unbias2 = 1 / (1 - beta1 ** (step + 1)), 1 / (1 - BETA2 ** (step + 1))
    direction = {name: unbias1 * m / (unbias2 * square[name] + EPSILON**2).sqrt() for name, m in mean.items()}
    return direction, {"mean": mean, "square": square}


# `rmsprop` is Adam with β₁ = 0, the inner optimiser of Reptile's authors.
_UPDATES: dict[InnerOptimizer, Callable[[Params, State, int], tuple[Params, State]]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
    "rmsprop": partial(_adam, beta1=0.0),
}
INNER_OPTIMIZERS = tuple(_UPDATES)
