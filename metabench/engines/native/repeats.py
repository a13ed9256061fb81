"""Inner steps that are all alike, as one operation of a traced graph: native writes it as a loop.

The graph then does not grow with the steps. What a step is, and how one is gone back through, are graphs of their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from metabench.autodiff import Repeat, Tensors

NAME = "metabench::repeat"
torch.library.define(
    NAME, "(Tensor[] state, Tensor[] given, Tensor[] cotangents, int[] wanted, int number) -> Tensor[]"
)


def _shapes_of(
    state: list[Tensor], given: list[Tensor], cotangents: list[Tensor], wanted: list[int], number: int
) -> list[Tensor]:
    return [torch.empty_like(p) for p in (*state, *(given[i] for i in wanted))]


torch.library.register_fake(NAME, _shapes_of)
REPEAT = torch.ops.metabench.repeat.default


class Repeats:
    """Steps that are met while a direction is traced: an operation, whose number says which of `met` they are."""

    def __init__(self) -> None:
        self.met: list[Repeat] = []

    def __call__(
        self, repeat: Repeat, state: Tensors, given: Tensors, cotangents: Tensors, wanted: Sequence[int]
    ) -> Tensors:
        self.met.append(repeat)
        return tuple(REPEAT([*state], [*given], [*cotangents], [*wanted], len(self.met) - 1))
