"""Inner steps that are all alike, as two operations of a traced graph: native writes each of them as a loop.

The graph then does not grow with the steps. What a step is, and how one is gone back through, are graphs of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metabench.autodiff import Tensors

torch.library.define("metabench::repeat", "(Tensor[] state, Tensor[] given, int number) -> Tensor[]")
torch.library.define(
    "metabench::repeat_back",
    "(Tensor[] state, Tensor[] given, Tensor[] cotangents, int[] wanted, int number) -> Tensor[]",
)


def _state_after(state: list[Tensor], given: list[Tensor], number: int) -> list[Tensor]:
    return [torch.empty_like(p) for p in state]


def _gone_back(
    state: list[Tensor], given: list[Tensor], cotangents: list[Tensor], wanted: list[int], number: int
) -> list[Tensor]:
    return [torch.empty_like(p) for p in (*state, *(given[i] for i in wanted))]


torch.library.register_fake("metabench::repeat", _state_after)
torch.library.register_fake("metabench::repeat_back", _gone_back)
REPEAT = torch.ops.metabench.repeat.default
REPEAT_BACK = torch.ops.metabench.repeat_back.default


@dataclass(frozen=True)
class Repeat:
    """Steps that are met while a direction is traced."""

    advance: Callable[..., Tensors]
    """The state after a step: of the state before it, and of what is given to all steps."""
    steps: int
    kept: int = 0
    """States that are kept at once on the way back."""
    pull_back: Callable[..., Tensors] | None = None
    """One step back: also of the cotangents of the state after it. None on the way there."""


class Repeats:
    """Steps become operations, whose number says which of `met` they are."""

    def __init__(self) -> None:
        self.met: list[Repeat] = []

    def there(self, advance: Callable[..., Tensors], state: Tensors, given: Tensors, steps: int) -> Tensors:
        self.met.append(Repeat(advance, steps))
        return tuple(REPEAT(list(state), list(given), len(self.met) - 1))

    def back(
        self,
        advance: Callable[..., Tensors],
        pull_back: Callable[..., Tensors],
        state: Tensors,
        given: Tensors,
        cotangents: Tensors,
        wanted: Sequence[int],
        steps: int,
        kept: int,
    ) -> Tensors:
        self.met.append(Repeat(advance, steps, min(steps, kept), pull_back))
        number = len(self.met) - 1
        return tuple(REPEAT_BACK(list(state), list(given), list(cotangents), list(wanted), number))
