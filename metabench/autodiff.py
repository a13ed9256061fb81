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
GradientAndValue: TypeAlias = Callable[[Scalar], Callable[..., tuple[Params, Tensor]]]


class Autodiff(NamedTuple):
    """`gradient_and_value(f)(params, *args) -> (gradient in params, value)`, differentiable itself when nested.

    `constant_gradient_and_value` gives the same numbers as constants: nothing is differentiated through them.
    """

    name: str
    gradient_and_value: GradientAndValue
    constant_gradient_and_value: GradientAndValue


def _functional(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    return torch.func.grad_and_value(function)


def _functional_constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        gradient, value = torch.func.grad_and_value(function)(params, *args)
        return {name: g.detach() for name, g in gradient.items()}, value.detach()

    return gradient_and_value


def _tape(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
        recording = torch.is_grad_enabled() and any(p.requires_grad for p in params.values())
        return _on_tape(function, params, args, recording)

    return gradient_and_value


def _tape_constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
    return lambda params, *args: _on_tape(function, params, args, recording=False)


def _on_tape(function: Scalar, params: Params, args: tuple[Any, ...], recording: bool) -> tuple[Params, Tensor]:
    with torch.enable_grad():
        if not recording:
            params = {name: p.detach().requires_grad_() for name, p in params.items()}
        value = function(params, *args)
        gradients = torch.autograd.grad(
            value, list(params.values()), create_graph=recording, allow_unused=True, materialize_grads=True
        )
    return dict(zip(params, gradients, strict=True)), value if recording else value.detach()


FUNCTIONAL = Autodiff("functional", _functional, _functional_constant)
TAPE = Autodiff("tape", _tape, _tape_constant)


def recording_into(record: list[tuple[Params, Tensor]]) -> Autodiff:
    """`TAPE` that writes down every constant gradient it takes, in order."""

    def constant(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        def gradient_and_value(params: Params, *args: Any) -> tuple[Params, Tensor]:
            record.append(_on_tape(function, params, args, recording=False))
            return record[-1]

        return gradient_and_value

    return Autodiff("recording", _tape, constant)


def replaying(record: list[tuple[Params, Tensor]]) -> Autodiff:
    """`TAPE` whose constant gradients are the recorded ones, whatever the parameters.

    What a first-order method means, in terms that finite differences can be taken of: the inner gradients do not
    change when the meta-parameters do.
    """
    recorded = iter(record)
    return Autodiff("replaying", _tape, lambda _: lambda *_: next(recorded))
