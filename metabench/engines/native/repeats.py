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

OPERATIONS = 1_000
"""The most that are written out for steps that are not gone back through: the compiler takes seconds for them."""


class Repeats:
    """Steps that are met while a direction is traced: an operation, whose number says which of `met` they are."""

    def __init__(self) -> None:
        self.met: list[Repeat] = []

    def __call__(
        self, repeat: Repeat, state: Tensors, given: Tensors, cotangents: Tensors, wanted: Sequence[int]
    ) -> Tensors:
        self.met.append(repeat)
        found = tuple(REPEAT([*state], [*given], [*cotangents], [*wanted], len(self.met) - 1))
        return found if repeat.kept else _written_out(repeat, state, given) or found


def _written_out(repeat: Repeat, state: Tensors, given: Tensors) -> Tensors | None:
    """The last state, by one step after the other; None where a loop is to carry them out.

    A loop carries out steps of many operations that use nothing but what they are given.
    """
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode = get_proxy_mode()
    assert mode is not None, "steps are repeated in traced directions alone"
    nodes = mode.tracer.graph.nodes
    loop = next(node for node in reversed(nodes) if node.target is REPEAT)
    before = len(nodes)
    state = repeat.advance(*state, *given)
    step = list(nodes)[before:]
    known = {loop, *loop.all_input_nodes, *step}
    if len(step) * repeat.steps > OPERATIONS and all(known.issuperset(node.all_input_nodes) for node in step):
        return None
    for _ in range(repeat.steps - 1):
        state = repeat.advance(*state, *given)
    return state
