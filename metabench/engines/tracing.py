"""A function of tensors as a graph of plain operations, for what compiles."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule

from metabench.algorithms.base import Algorithm
from metabench.tensors import task_of


def direction_of_tensors(algorithm: Algorithm, names: Sequence[str]) -> Callable[[list[Tensor]], list[Tensor]]:
    """`(meta-parameters in the order of names, tensors of a task) -> (direction in that order, loss)`."""

    def function(inputs: list[Tensor]) -> list[Tensor]:
        meta = dict(zip(names, inputs, strict=False))
        direction, metrics = algorithm.task_direction(meta, task_of(inputs[len(names) :]))
        return [*(direction[name] for name in names), metrics["loss"]]

    return function


def traced(
    function: Callable[[list[Tensor]], list[Tensor]], inputs: Sequence[Tensor], kept: Iterable[OpOverload] = ()
) -> GraphModule:
    """What `function` does to inputs like these: gradients resolved, and in Inductor's few primitive operations.

    Operations in `kept` stay as they are.
    What it writes to its inputs becomes copies at the end of the graph; within, nothing is written to. (Inductor takes
    no heed of what a graph writes to on its way, as batch norm's decomposition does: the second-order gradient through
    it would be wrong.)
    """
    # Importing the compiler takes seconds, which the other engines need not spend.
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    import_module("torch._inductor.lowering")  # a decomposition of max-pooling looks it up without importing it

    with torch.no_grad():
        # On tensors without numbers: tracing runs the function, and real ones would be computed, and described anew.
        trace = partial(make_fx, tracing_mode="fake", _allow_non_fake_inputs=True)
        differentiated = trace(lambda *tensors: function(list(tensors)))(*inputs)
        table = {name: rule for name, rule in select_decomp_table().items() if name not in set(kept)}
        graph = trace(torch.func.functionalize(differentiated), decomposition_table=table)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph
