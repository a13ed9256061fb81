"""How large a network is: parameters, activations, arithmetic and operators, found without computing anything."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metabench.algorithms.base import ALGORITHMS, Learner, parameter_count
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS
from metabench.tasks.packed import SIDE

Shape = tuple[int, ...]
INPUTS: dict[str, Shape] = {"sinusoid": (1,), "omniglot": (1, SIDE, SIDE), "glyphs": (1, SIDE, SIDE)}
"""Shapes of an example of the task distributions of the suite, which are known before the data is at hand."""
EXAMPLES = 2  # a batch of one could not be normalised


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network, and of one forward pass through it."""

    parameters: int
    activations: float
    """Numbers that the operators of a forward pass give out, for each example."""
    flops: float
    """Floating-point operations of products and convolutions, for each example."""
    calls: int
    """Operators that a forward pass calls."""


@cache
def network_size(model: str, task: str, ways: int) -> NetworkSize | None:
    """The size of a model on a task of the suite; None for another task, and for a model that cannot be looked at."""
    shape = INPUTS.get(task)
    if shape is None:
        return None
    try:
        network = MODELS.get(model)(shape, ways)
        params = network.init(torch.Generator())
        meta = {name: p.to("meta") for name, p in params.items()}
        with torch.no_grad(), _Forward() as seen:
            network.head(meta, network.features(meta, torch.empty(EXAMPLES, *shape, device="meta")))
    except Exception:  # a model from outside the suite may raise anything: its row will say so
        return None
    return NetworkSize(parameter_count(params), seen.numbers / EXAMPLES, seen.flops / EXAMPLES, seen.calls)


@cache
def adapts_head_alone(algorithm: str, model: str, task: str, ways: int) -> bool:
    """Whether the inner loop moves the head of the network and leaves its body; False where that cannot be known."""
    shape = INPUTS.get(task)
    try:
        network = MODELS.get(model)(shape or (), ways)
        learner = Learner(network, TASKS.get(task).kind)
        made = ALGORITHMS.get(algorithm)(learner, inner_lr=0.1, inner_steps=1)
        return bool(made.adapted_names(made.init(torch.Generator())) <= network.head_names) and made.order != "none"
    except Exception:  # as above
        return False


class _Forward(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what the operators of a forward pass do, by their shapes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = self.calls = 0
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            given = [value for value in args if isinstance(value, Tensor)]
            made = sum(value.numel() for value in tree_leaves(out) if isinstance(value, Tensor))
            self.calls += 1
            self.numbers += made
            self.flops += made * _products(func.overloadpacket.__name__, given)
        return out


def _products(name: str, given: list[Tensor]) -> int:
    """Operations that each number of a product or a convolution takes; 0 for other operators."""
    if name == "convolution":
        return 2 * math.prod(given[1].shape[1:])
    return 2 * given[-2].shape[-1] if name in ("mm", "addmm", "bmm", "baddbmm") else 0
