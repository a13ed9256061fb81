"""Two ways of taking a gradient with one meaning, so that an algorithm is written once and engines choose.

`FUNCTIONAL` is `torch.func`: it can be vmapped, compiled and nested without a thought, and pays for its layers in
eager mode. `TAPE` is `torch.autograd` with `create_graph` wherever an outer gradient is being recorded: in a plain
loop over tasks it is more than twice as fast, so the reference uses it and is no straw man. That the two are
independent also makes each a check on the other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from metabench.tensors import Params

Scalar: TypeAlias = Callable[..., Tensor]
"""A function whose first argument is a `Params` and whose value is a scalar tensor."""


class Autodiff(NamedTuple):
    """`gradient_and_value(f)(params, *args) -> (gradient in params, value)`, differentiable itself when nested."""

    name: str
    gradient_and_value: Callable[[Scalar], Callable[..., tuple[Params, Tensor]]]


def _functional(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    return torch.func.grad_and_value(function)


def _tape(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        recording = torch.is_grad_enabled() and any(p.requires_grad for p in params.values())
        with torch.enable_grad():
            if not recording:
                params = {name: p.detach().requires_grad_() for name, p in params.items()}
            value = function(params, *args)
            gradients = torch.autograd.grad(
                value, list(params.values()), create_graph=recording, allow_unused=True, materialize_grads=True
            )
        return dict(zip(params, gradients, strict=True)), value if recording else value.detach()

    return gradient_and_value


FUNCTIONAL = Autodiff("functional", _functional)
TAPE = Autodiff("tape", _tape)
