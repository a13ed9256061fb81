"""`fused`: a meta-iteration as one launch of one CUDA kernel, made for an algorithm, its network and its tasks.

The direction of a task is traced, as for `native`, and written out for the threads of one block (`kernel`): parameters,
activations and all inner steps lie in the memory that these threads share. Blocks take the tasks in turn, then wait for
each other, and share the outer update: the mean over tasks, clipping and Adam.
"""

import ctypes
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import FUNCTIONAL
from metabench.engines.base import ENGINES, Engine, Iteration, by_unit_descent
from metabench.engines.flat import Episodes, Flat
from metabench.engines.fused.arguments import Arguments
from metabench.engines.fused.device import Kernel, most_shared
from metabench.engines.fused.source import Source, source_of
from metabench.engines.native import C_TYPES, direction_of
from metabench.engines.outer import BETA1, BETA2, Outer
from metabench.engines.tracing import Stage
from metabench.errors import Unsupported
from metabench.tensors import Params

THREADS = 256
"""Threads of a block."""
LOSSES = 1024
"""Losses that lie in one piece of memory: a new piece is taken for the next ones, so that none is written over."""


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations; the first of them compiles."""
    like = next(iter(meta.values()))
    if like.dtype not in C_TYPES:
        raise Unsupported(f"fused computes in float32 and float64, not in {like.dtype}: use loop or compile")
    if algorithm.checkpoint:
        raise Unsupported("fused keeps what an inner step needs: checkpoint has no say; use loop, vmap or compile")
    if algorithm.second_order != "reverse":
        raise Unsupported(f"fused keeps what a step needs: {algorithm.second_order} is for loop, vmap and native")
    return Iterations(replace(algorithm, autodiff=FUNCTIONAL), meta, outer)


class Iterations(Flat):
    """Whole meta-iterations: one launch each."""

    def __init__(self, algorithm: Algorithm, meta: Params, outer: Outer) -> None:
        super().__init__("fused", algorithm, meta, outer)
        self.functions: dict[object, Function] = {}
        self.losses: list[Tensor] = []

    def run(self, episodes: Episodes) -> dict[str, Tensor]:
        function = self.functions.get(episodes.signature)
        if function is None:
            function = self.functions[episodes.signature] = Function(self.stage, self.meta, episodes)
        if not self.losses:
            self.losses = list(torch.empty(LOSSES, dtype=self.theta.dtype, device=self.theta.device).unbind())
        loss, outer, given = self.losses.pop(), self.outer, function.arguments
        rate = outer.lr * outer.factor(self.count)
        self.count += 1
        given.theta, given.mean, given.square = self.pointers[:3]
        given.loss, given.episodes, given.tasks = loss.data_ptr(), episodes.pointers, episodes.tasks
        given.rate, given.clip, given.epsilon = rate, outer.clip, outer.epsilon
        given.size, given.root = rate / (1 - BETA1**self.count), (1 - BETA2**self.count) ** 0.5
        function.launch()
        return {"loss": loss}

    def wait(self) -> None:
        torch.cuda.synchronize(self.theta.device)

    @property
    def held(self) -> int:
        return sum(function.work.nbytes for function in self.functions.values())


class Function:
    """The compiled kernel for one algorithm and one shape of tasks, and the memory that it works in."""

    def __init__(self, stage: Stage, meta: Params, episodes: Episodes) -> None:
        like = next(iter(meta.values()))
        params = tuple((name, p.shape) for name, p in meta.items())
        capacity = most_shared(like.device) // like.element_size()
        self.source = _source_for(stage, params, episodes.signature, like.dtype, THREADS, capacity)
        self.kernel = Kernel(self.source.text, self.source.shared * like.element_size(), THREADS, like.device)
        self.ticket = torch.zeros((), dtype=torch.int64, device=like.device)
        self.arguments = Arguments(ticket=self.ticket.data_ptr())
        self.given = (ctypes.c_void_p * 1)(ctypes.addressof(self.arguments))
        self.work = like.new_empty(0)

    def launch(self) -> None:
        """Begin an iteration, on as many blocks as there are tasks, or as run at once."""
        blocks = min(self.arguments.tasks, self.kernel.most_blocks)
        if self.work.numel() < self.source.work(blocks):
            self.work = self.work.new_empty(self.source.work(blocks))
            self.arguments.work = self.work.data_ptr()
        self.kernel.launch(self.given, blocks)


@lru_cache(maxsize=8)
def _source_for(
    stage: Stage,
    params: tuple[tuple[str, torch.Size], ...],
    task: tuple[tuple[torch.Size, torch.dtype], ...],
    dtype: torch.dtype,
    threads: int,
    capacity: int,
) -> Source:
    graph, inputs = direction_of(stage, params, task)
    return source_of(graph, len(params), len(stage.scheduled), inputs, C_TYPES[dtype], threads, capacity)


ENGINES.register("fused")(
    Engine(
        "a whole meta-iteration as one launch of one CUDA kernel, made for the network and the tasks",
        by_unit_descent(start),
        start,
        compiles=True,
        autocasts=False,
    )
)
