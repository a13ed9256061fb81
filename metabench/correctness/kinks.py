"""Functions whose kinks are held: each ReLU and each max-pool takes the side that it took at one point.

A gradient is that of the smooth piece on which a point lies. A central difference has its ends on other pieces where a
ReLU switches between them, and in a large network some of its millions always do. With all of them held, the difference
stays on that piece, and is as exact as that of a smooth function.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten


class Side(NamedTuple):
    """Which side one call of an operation took: where its argument was positive, or where its maxima were."""

    operation: object
    shape: tuple[int, ...]
    taken: Tensor


Sides: TypeAlias = list[Side]
"""Which sides all calls took, in their order."""


class OtherCalls(Exception):
    """A function makes other calls than at the point where its sides were noted."""


class Kinked(NamedTuple):
    """An operation with a kink: the side that a call took, and what it would give on a given side."""

    taken: Callable[[Sequence[Any], Any], Tensor]
    held: Callable[[Tensor, Sequence[Any]], Any]


def _relu(taken: Tensor, args: Sequence[Any]) -> Tensor:
    return torch.where(taken, args[0], 0.0)


def _leaky(taken: Tensor, value: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(taken, value, slope * value)


def _max_pool(taken: Tensor, args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    return args[0].flatten(-2).gather(-1, taken.flatten(-2)).view_as(taken), taken


KINKED: Mapping[object, Kinked] = {
    ATEN.relu.default: Kinked(lambda args, _: args[0] > 0, _relu),
    ATEN.threshold_backward.default: Kinked(lambda args, _: args[1] > args[2], _relu),
    ATEN.leaky_relu.default: Kinked(lambda args, _: args[0] > 0, lambda taken, args: _leaky(taken, *args)),
    ATEN.leaky_relu_backward.default: Kinked(
        lambda args, _: args[1] > 0, lambda taken, args: _leaky(taken, args[0], args[2])
    ),
    ATEN.max_pool2d_with_indices.default: Kinked(lambda _, found: found[1], _max_pool),
}
"""Operations with a kink. The backward pass of a max-pool goes by the places of the maxima, and so is held with it."""


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Something that sees each call of an operation."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would then import its compiler at the first call, which takes longer than the gate of a small
        cell."""
        return False


class Noting(Mode):
    """Adds the side that each call takes to `sides`."""

    def __init__(self, sides: Sides) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sides = sides

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in KINKED:
            self.sides.append(Side(func, tuple(args[0].shape), KINKED[func].taken(args, found)))
        return found


class Holding(Mode):
    """Makes each call take its side of `sides`, in their order. Raises `OtherCalls` where calls are others."""

    def __init__(self, sides: Sides) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sides: Iterator[Side] = iter(sides)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in KINKED:
            return func(*args, **(kwargs or {}))
        side = next(self.sides, None)
        if side is None or (side.operation, side.shape) != (func, tuple(args[0].shape)):
            raise OtherCalls
        return KINKED[func].held(side.taken, args)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if kind is None and next(self.sides, None):
            raise OtherCalls
