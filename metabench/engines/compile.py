"""`compile` and `compile-tasks`: directions and outer updates compiled by torch's Inductor.

`compile` traces the vmapped direction and the outer update together: one call is one meta-iteration. On CUDA the
compiled function is captured as one graph, so that no kernel waits for the processor. `compile-tasks` traces the
direction of a single task and goes through them one by one.
"""

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import FUNCTIONAL
from metabench.engines.base import ENGINES, Engine, Iteration, Step, by_unit_descent, mean_over_tasks
from metabench.engines.capture import captured
from metabench.engines.convolutions import forms_for
from metabench.engines.function import Function, Made
from metabench.engines.inductor import compiled, kept_libraries
from metabench.engines.iterations import Iterations, Signature, signature_of
from metabench.engines.outer import Outer
from metabench.engines.tracing import direction_of_tensors, stage_of
from metabench.errors import Unsupported
from metabench.tensors import Params, Task, tensors_of


def start(algorithm: Algorithm, meta: Params, outer: Outer) -> Iteration:
    """Whole iterations; the first one of each shape of episodes is compiled."""
    device = next(iter(meta.values())).device
    if algorithm.second_order != "reverse":
        raise Unsupported(f"torch cannot trace {algorithm.second_order} under vmap: use compile-tasks, vmap or native")
    return Iterations(algorithm, meta, outer, _made, forms_for(device))


def _made(function: Function, state: list[Tensor], episodes: list[Tensor]) -> Made:
    made = _compiled(function, signature_of([*state, *episodes]))
    return captured(made, state, episodes) if episodes[0].device.type == "cuda" else Made(made)


@lru_cache(maxsize=8)
def _compiled(function: Function, signature: Signature) -> Function:
    """The compiled function, one in a process for each shape: the state is among the inputs, so it serves again."""
    shapes, _ = signature
    return compiled(function, [torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in shapes])


def build_for_single_tasks(algorithm: Algorithm) -> Step:
    """The compiled direction of one task, for each of the meta-batch in turn."""
    stage, scheduled = stage_of(replace(algorithm, autodiff=FUNCTIONAL))
    made: dict[object, Function] = {}

    def direction(meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        like = next(iter(meta.values()))
        inputs = [*meta.values(), *(like.new_tensor(number) for number in scheduled), *tensors_of(task)]
        signature = signature_of(inputs)
        if signature not in made:
            made[signature] = compiled(direction_of_tensors(stage, list(meta)), inputs)
        *found, loss = made[signature](inputs)
        return dict(zip(meta, found, strict=True)), {"loss": loss}

    return mean_over_tasks(direction)


ENGINES.register("compile")(
    Engine(
        "a whole meta-iteration, vmapped, as one graph compiled by Inductor; captured, on CUDA",
        by_unit_descent(start),
        start,
        compiles=True,
        kept=kept_libraries,
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
