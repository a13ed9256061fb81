"""Meta-parameters in one line of numbers, as engines hold them that write their own machine code."""

import ctypes
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.engines.base import OuterState
from metabench.engines.outer import Outer
from metabench.engines.pages import working_memory
from metabench.engines.tracing import stage_of
from metabench.errors import Unsupported
from metabench.tensors import Params, Task, tensors_of

WEIGHTS = (2, 3, 1, 0)
"""How weights of convolutions (outputs, inputs, height, width) lie: outputs in line, as convolutions read them best."""


def order_held(shape: Sequence[int]) -> tuple[int, ...]:
    """The dimensions of a meta-parameter from the outermost in memory to the innermost."""
    return WEIGHTS if len(shape) == 4 else tuple(range(len(shape)))


class Episodes:
    """An episode batch, and where its tensors lie."""

    def __init__(self, episodes: Task) -> None:
        self.tensors = tensors_of(episodes)
        self.pointers = (ctypes.c_void_p * len(self.tensors))(*(tensor.data_ptr() for tensor in self.tensors))
        self.tasks = len(episodes.classes)
        self.signature = tuple((tensor.shape[1:], tensor.dtype) for tensor in self.tensors)


class Flat:
    """All meta-parameters in one line of numbers, and Adam's moments in two more.

    Behind the meta-parameters lie the numbers that the stage of the training gives.
    """

    def __init__(self, engine: str, algorithm: Algorithm, meta: Params, outer: Outer) -> None:
        self.engine, self.outer = engine, outer
        self.stage, scheduled = stage_of(algorithm)
        self.shapes = {name: p.shape for name, p in meta.items()}
        like = next(iter(meta.values()))
        count, moments = sum(p.numel() for p in meta.values()), 2 if outer.optimizer == "adam" else 0
        line, *self.moments = (working_memory(n, like) for n in (count + len(scheduled), *[count] * moments))
        torch.cat([*_in_line(meta.values()), like.new_tensor(scheduled)], out=line)
        self.theta = line[:count]
        self.pointers = [self.theta.data_ptr(), *(moment.data_ptr() for moment in self.moments)] + [None] * 2
        self.count = 0

    def take(self, episodes: Task) -> Episodes:
        taken = Episodes(episodes)
        for _, dtype in taken.signature:
            if dtype not in (torch.int64, self.theta.dtype):
                raise Unsupported(
                    f"{self.engine} reads int64 and {self.theta.dtype}, not {dtype}: give tasks in one of them"
                )
        return taken

    @property
    def choices(self) -> Mapping[str, str]:
        return {}

    @property
    def meta(self) -> Params:
        return self._named(self.theta)

    @meta.setter
    def meta(self, meta: Params) -> None:
        self._fill(self.theta, meta)

    @property
    def outer_state(self) -> OuterState:
        means, squares = (self._named(moment) for moment in self.moments) if self.moments else ({}, {})
        return OuterState(self.meta, means, squares, self.count)

    def restore(self, state: OuterState) -> None:
        self.meta = state.meta
        for line, moments in zip(self.moments, (state.means, state.squares), strict=False):
            self._fill(line, moments)
        self.count = state.updates

    def set_rate(self, rate: float) -> None:
        self.outer = self.outer.at_rate(rate)

    def _fill(self, line: Tensor, params: Params) -> None:
        """Write tensors into a line of numbers, of which they may be parts."""
        line.copy_(torch.cat(_in_line(params[name] for name in self.shapes)))

    def _named(self, line: Tensor) -> Params:
        """The parts of a line of numbers, as views."""
        parts = torch.split(line, [shape.numel() for shape in self.shapes.values()])
        return {name: _part(part, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def _in_line(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The numbers of each tensor, in the order in which they are held."""
    return [tensor.permute(order_held(tensor.shape)).reshape(-1) for tensor in tensors]


def _part(numbers: Tensor, shape: torch.Size) -> Tensor:
    """A meta-parameter of that shape, as a view of its numbers."""
    order = order_held(shape)
    return numbers.view([shape[d] for d in order]).permute([order.index(d) for d in range(len(shape))])
