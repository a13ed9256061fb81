"""How large a network is: parameters, activations, arithmetic and operators, by one forward pass of two examples."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metabench.algorithms.base import ALGORITHMS, Learner, parameter_count
from metabench.errors import UserError
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS

Data: TypeAlias = tuple[tuple[str, Any], ...]
"""Values of axes that say which data a task is built on."""
PRODUCTS = ("linear", "matmul", "__matmul__", "mm", "bmm")
SAVED = 2.0
"""Factor by which tiles save operations: 2.25 of products, less what they add themselves."""
EXAMPLES = 2  # a batch of one could not be normalised


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network, and of one forward pass through it."""

    parameters: int
    activations: float
    """Numbers that the functions of a forward pass give out, for each example."""
    flops: float
    """Floating-point operations of products and convolutions, for each example."""
    tiled_flops: float
    """Operations of products and of convolutions, those of 3 x 3 without strides in tiles, as on `native`."""
    calls: int
    """Functions that a forward pass calls."""


@cache
def network_size(model: str, task: str, ways: int, data: Data = ()) -> NetworkSize | None:
    """The size of a model on a task; None where the inputs of the task are not known, or the model cannot be tried."""
    shape = _input_shape(task, data)
    if not shape:
        return None
    try:
        network = MODELS.get(model)(shape, ways)
        params = network.init(torch.Generator())
        with torch.no_grad(), _Forward() as seen:
            network.head(params, network.features(params, torch.zeros(EXAMPLES, *shape)))
    except Exception:  # a model from outside the suite may raise anything: its row will say so
        return None
    numbers = (seen.numbers / EXAMPLES, seen.flops / EXAMPLES, seen.tiled_flops / EXAMPLES)
    return NetworkSize(parameter_count(params), *numbers, seen.calls)


@cache
def adapts_head_alone(algorithm: str, model: str, task: str, ways: int, data: Data = ()) -> bool:
    """Whether the inner loop moves the head of the network and leaves its body; False where that cannot be known."""
    shape = _input_shape(task, data)
    try:
        network = MODELS.get(model)(shape, ways)
        learner = Learner(network, TASKS.get(task).kind)
        made = ALGORITHMS.get(algorithm)(learner, inner_lr=0.1, inner_steps=1)
        return bool(made.adapted_names(made.init(torch.Generator())) <= network.head_names) and made.order != "none"
    except Exception:  # as above
        return False


@cache
def _input_shape(task: str, data: Data) -> tuple[int, ...]:
    try:
        source = TASKS.get(task)
    except UserError:  # rows may come from where it is installed
        return ()
    return source.likely_shape(dict(data))


class _Forward(TorchFunctionMode):
    """Adds up what the functions of a forward pass do. A mode of torch's dispatcher would import its compiler."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = self.calls = 0
        self.flops = self.tiled_flops = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor)]
        if isinstance(out, Tensor) and not any(out.data_ptr() == value.data_ptr() for value in given):
            self.calls += 1
            self.numbers += out.numel()
            flops = out.numel() * _products(func.__name__, given)
            self.flops += flops
            self.tiled_flops += flops / (SAVED if _in_tiles(func.__name__, given, kwargs or {}) else 1)
        return out


def _products(name: str, given: list[Tensor]) -> int:
    """Operations that each number of a product or a convolution takes; 0 for other functions."""
    if name in ("conv1d", "conv2d", "conv3d"):
        return 2 * math.prod(given[1].shape[1:])
    return 2 * given[0].shape[-1] if name in PRODUCTS else 0


def _in_tiles(name: str, given: list[Tensor], options: dict[str, Any]) -> bool:
    """Whether a convolution saves products by tiles: one of 3 x 3 places, of several channels, without strides."""
    if name != "conv2d" or options.get("stride", 1) not in (1, (1, 1)):
        return False
    return given[1].shape[1] > 1 and given[1].shape[2:] == (3, 3)
