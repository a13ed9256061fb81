"""The method of conjugate gradients, on dictionaries of tensors."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from metabench.algorithms.reversal import repeated
from metabench.autodiff import Repeating
from metabench.tensors import Params, zeros

G = TypeVar("G")
State: TypeAlias = tuple[Params, Params, Params, Tensor]


def conjugate_gradient(
    product: Callable[[Params, G], Params], target: Params, steps: int, given: G, repeating: Repeating | None = None
) -> Params:
    """x of product(x, given) = target, after that many steps from zero (Hestenes and Stiefel 1952).

    0 / 0 counts as 0, so that steps after exact convergence change nothing. `product` sees no tensors but its
    arguments where `repeating` carries out the steps.
    """

    def advance(state: State, given: G, step: int) -> State:
        x, residual, direction, square = state
        del state
        image = product(direction, given)
        length = over(square, dot(direction, image))
        x = {name: p + length * direction[name] for name, p in x.items()}
        residual = {name: p - length * image[name] for name, p in residual.items()}
        previous, square = square, dot(residual, residual)
        turn = over(square, previous)
        return x, residual, {name: p + turn * direction[name] for name, p in residual.items()}, square

    x: Params = repeated(advance, (zeros(target), target, target, dot(target, target)), given, steps, repeating)[0]
    return x


def dot(a: Params, b: Params) -> Tensor:
    """The sum of all products of two numbers in the same place."""
    return torch.stack([(p * b[name]).sum() for name, p in a.items()]).sum()


def over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, or 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))
