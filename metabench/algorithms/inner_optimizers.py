"""Inner optimisers: where the gradient of an inner step leads, and what they remember for the next step."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch

from metabench.algorithms.naming import beside, split_off
from metabench.record.cell import InnerOptimizer
from metabench.tensors import Params

State: TypeAlias = dict[str, Params]
"""What an inner optimiser remembers, by kind (velocity, mean, square) and by the names of the parameters."""

MOMENTUM = 0.9
BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8
FORGOTTEN = 1e-9
"""Weight of what is remembered before the first task, in which one step weighs 1 - β₂."""


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


def remembering(gradient: Params, state: State, step: int) -> tuple[Params, State]:
    """What `rmsprop` does with squares that go back to earlier tasks, of which `weight` says how many steps they hold.

    After t steps from zero the weight is 1 - β₂ᵗ, by which Kingma and Ba divide.
    """
    weight = BETA2 * state["weight"]["square"] + (1 - BETA2)
    square = {name: BETA2 * state["square"][name] + (1 - BETA2) * g * g for name, g in gradient.items()}
    direction = {name: g / (square[name] / weight + EPSILON**2).sqrt() for name, g in gradient.items()}
    return direction, {"square": square, "weight": {"square": weight}}


def with_first_memory(params: Params) -> Params:
    """The network's parameters, and what `rmsprop` remembers of them before the first task.

    That is next to nothing, as squares are positive.
    """
    like = next(iter(params.values()))
    squares = {"square": {name: torch.full_like(p, FORGOTTEN**2) for name, p in params.items()}}
    return beside(params, named({**squares, "weight": {"square": like.new_tensor(FORGOTTEN)}}))


def memory_in(meta: Params) -> tuple[Params, State | None]:
    """The network's parameters among the meta-parameters, and what is remembered of earlier tasks, if anything is."""
    if "weight.square" not in meta:
        return meta, None
    _, squares = split_off("square", meta)
    return {name: meta[name] for name in squares}, {"square": squares, "weight": {"square": meta["weight.square"]}}


def named(state: State) -> Params:
    """The tensors of a state by names of their own, KIND.NAME."""
    return {f"{kind}.{name}": p for kind, moments in state.items() for name, p in moments.items()}


# `rmsprop` is Adam with β₁ = 0, the inner optimiser of Reptile's authors.
UPDATES: dict[InnerOptimizer, Callable[[Params, State, int], tuple[Params, State]]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adam": _adam,
    "rmsprop": partial(_adam, beta1=0.0),
}
LINEAR: tuple[InnerOptimizer, ...] = ("sgd", "momentum")
"""Inner optimisers whose steps are linear in the gradient."""
INNER_OPTIMIZERS = tuple(UPDATES)
