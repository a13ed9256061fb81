"""Functions of tensors, and what an engine makes of them."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

Function: TypeAlias = Callable[[list[Tensor]], list[Tensor]]


class Made(NamedTuple):
    """What an engine makes of a function, for inputs of the same shapes, types and devices."""

    run: Function
    held: int = 0
    """Bytes that it works in and keeps between two calls."""


Make: TypeAlias = Callable[[Function, list[Tensor], list[Tensor]], Made]
"""`(function of all inputs, state that it updates, episodes) -> the same function, of this state and such episodes`."""
