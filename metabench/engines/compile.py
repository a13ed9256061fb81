"""`compile` and `compile-tasks`: graphs for torch's Inductor, traced below torch.compile.

make_fx resolves functional gradients into plain tensor operations, so that nothing is differentiated through a compiled
module, and whatever vmap or loop carries is carried. Inductor makes fused loops of the graph. It is called without
torch.compile's guards, which take longer than the work on small networks: what they would check, `_signature` does.

`compile` traces the vmapped direction and the outer update together: one call is one meta-iteration. `compile-tasks`
traces the direction of a single task and goes through them one by one: better for convolutions, which vmap turns into
grouped ones.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import FUNCTIONAL
from metabench.engines import vmap
from metabench.engines.base import ENGINES, Engine, Iteration, Step, by_unit_descent, mean_over_tasks
from metabench.engines.compiler import compiler
from metabench.engines.tracing import direction_of_tensors, traced
from metabench.errors import Unsupported
from metabench.outer import BETA1, BETA2, CLIP_EPSILON, EPSILON, Outer
from metabench.tensors import Params, Task, task_of, tensors_of

Graph: TypeAlias = Callable[[list[Tensor]], list[Tensor]]
Make: TypeAlias = Callable[[Graph, list[Tensor], list[Tensor]], Graph]
"""`(function of all inputs, state that it updates, episodes) -> what does the same for these and all like them`."""


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations as one graph, compiled by the first of them."""
    _need_compiler(next(iter(meta.values())).device)
    return Iterations(
        vmap.build(algorithm), meta, outer, lambda function, state, episodes: compiled(function, [*state, *episodes])
    )


class Iterations:
    """Meta-parameters, moments and their count, which the graph that `make` gives updates in place."""

    def __init__(self, step: Step, meta: Params, outer: Outer, make: Make) -> None:
        self.step, self.outer, self.make = step, outer, make
        self.names = list(meta)
        self.params = [p.clone(memory_format=torch.contiguous_format) for p in meta.values()]
        self.moments = [torch.zeros_like(p) for p in self.params * 2] if outer.optimizer == "adam" else []
        device = self.params[0].device
        # float64, since float32 has no digits for 1 - β₂ᵗ
        self.done = torch.zeros((), dtype=torch.float64, device=device)
        self.rate = torch.full((), outer.lr * outer.factor(0), dtype=torch.float64, device=device)
        self.count = 0
        self.graphs: dict[object, Graph] = {}

    def take(self, episodes: Task) -> list[Tensor]:
        return tensors_of(episodes)

    def run(self, episodes: list[Tensor]) -> dict[str, Tensor]:
        if self.count and (self.outer.decay != "none" or self.outer.warmup):
            self.rate.fill_(self.outer.lr * self.outer.factor(self.count))
        self.count += 1
        state, signature = [self.done, self.rate, *self.params, *self.moments], _signature(episodes)
        if signature not in self.graphs:
            self.graphs[signature] = self.make(self._iterate, state, episodes)
        (loss,) = self.graphs[signature]([*state, *episodes])
        return {"loss": loss}

    def wait(self) -> None:
        if self.rate.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def held(self) -> int:
        return 0

    @property
    def meta(self) -> Params:
        return dict(zip(self.names, self.params, strict=True))

    @meta.setter
    def meta(self, meta: Params) -> None:
        for name, p in self.meta.items():
            p.copy_(meta[name])

    def _iterate(self, inputs: list[Tensor]) -> list[Tensor]:
        """What is compiled: writes to the first of its inputs."""
        n = len(self.params)
        (done, rate), params, rest = inputs[:2], inputs[2 : 2 + n], inputs[2 + n :]
        moments, episodes = rest[:-5], task_of(rest[-5:])
        direction, metrics = self.step(dict(zip(self.names, params, strict=True)), episodes)
        gradients = _clipped([direction[name] for name in self.names], self.outer.clip)
        if moments:
            _adam(params, gradients, moments[:n], moments[n:], done, rate)
        else:
            for p, g in zip(params, gradients, strict=True):
                p.copy_(p - rate.to(p.dtype) * g)
        return [metrics["loss"]]


def _clipped(gradients: list[Tensor], clip: float) -> list[Tensor]:
    if not clip:
        return gradients
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    share = (clip / (norm + CLIP_EPSILON)).clamp(max=1.0)
    return [share * g for g in gradients]


def _adam(
    params: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    done: Tensor,
    rate: Tensor,
) -> None:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, in place."""
    t = done + 1
    size, root = rate / (1 - BETA1**t), (1 - BETA2**t).sqrt()
    for p, g, mean, square in zip(params, gradients, means, squares, strict=True):
        m = mean + (1 - BETA1) * (g - mean)
        s = BETA2 * square + (1 - BETA2) * g * g
        p.copy_(p - size.to(p.dtype) * m / (s.sqrt() / root.to(p.dtype) + EPSILON))
        mean.copy_(m)
        square.copy_(s)
    done.copy_(t)


def build_for_single_tasks(algorithm: Algorithm) -> Step:
    """The compiled direction of one task, for each of the meta-batch in turn."""
    if algorithm.checkpoint:
        raise Unsupported("compile-tasks recomputes what its compiler chooses: checkpoint has no say; use loop")
    algorithm = replace(algorithm, autodiff=FUNCTIONAL)
    graphs: dict[object, Graph] = {}

    def direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        inputs = [*meta.values(), *tensors_of(task)]
        signature = _signature(inputs)
        if signature not in graphs:
            _need_compiler(inputs[0].device)
            graphs[signature] = compiled(direction_of_tensors(algorithm, list(meta)), inputs)
        *found, loss = graphs[signature](inputs)
        return dict(zip(meta, found, strict=True)), {"loss": loss}

    return mean_over_tasks(direction)


def compiled(function: Graph, inputs: list[Tensor]) -> Graph:
    """`function` for inputs like these, by Inductor; what it writes to must be among them."""
    # Importing the compiler takes seconds, which the other engines need not spend.
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._subclasses import FakeTensorMode

    graph = traced(function, inputs)
    mode = FakeTensorMode()
    with torch.no_grad(), tracing(TracingContext(mode)):
        return compile_fx_inner(graph, [mode.from_tensor(tensor) for tensor in inputs])


def kept_libraries() -> int:
    """How many compiled libraries Inductor's cache holds."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return sum(1 for _ in Path(cache_dir()).rglob("*.so"))


def _signature(inputs: list[Tensor]) -> object:
    return tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs), torch.get_num_threads()


def _need_compiler(device: torch.device) -> None:
    if device.type == "cpu":
        compiler("compile")


ENGINES.register("compile")(
    Engine(
        "a whole meta-iteration, vmapped, as one graph compiled by Inductor",
        by_unit_descent(start),
        start,
        compiles=True,
        kept=kept_libraries,
        autocasts=False,
    )
)
ENGINES.register("compile-tasks")(
    Engine(
        "one task after the other, the direction of each compiled by Inductor",
        build_for_single_tasks,
        compiles=True,
        kept=kept_libraries,
        autocasts=False,
    )
)
