"""A function of tensors as a graph of plain operations, for what compiles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from metabench.algorithms.base import Algorithm
from metabench.tensors import task_of


@dataclass(frozen=True)
class Stage:
    """An algorithm without the numbers that change in the course of a training: they are data of what is compiled.

    So the stages of a training that differ in such numbers alone share what was compiled of one of them.
    """

    algorithm: Algorithm
    """The algorithm with 1 in the place of each scheduled number."""
    scheduled: tuple[str, ...]
    """The fields that they stand in; one that is 0 is a constant, since an algorithm may leave work out there."""

    def with_numbers(self, numbers: Sequence[Tensor]) -> Algorithm:
        """The algorithm with those numbers, tensors without dimensions, in the order of `scheduled`."""
        changed: Mapping[str, Any] = dict(zip(self.scheduled, numbers, strict=True))
        return replace(self.algorithm, **changed) if changed else self.algorithm


def stage_of(algorithm: Algorithm) -> tuple[Stage, list[float]]:
    """What is compiled of an algorithm, and the numbers that it is given."""
    scheduled = tuple(name for name in algorithm.scheduled if getattr(algorithm, name))
    ones: Mapping[str, Any] = dict.fromkeys(scheduled, 1.0)
    return Stage(replace(algorithm, **ones), scheduled), [float(getattr(algorithm, name)) for name in scheduled]


def direction_of_tensors(stage: Stage, names: Sequence[str]) -> Callable[[list[Tensor]], list[Tensor]]:
    """`(meta-parameters in the order of names, numbers of the stage, tensors of a task) -> (direction, loss)`.

    The direction is in the order of names.
    """

    def function(inputs: list[Tensor]) -> list[Tensor]:
        meta, rest = dict(zip(names, inputs, strict=False)), inputs[len(names) :]
        numbers, task = rest[: len(stage.scheduled)], rest[len(stage.scheduled) :]
        direction, metrics = stage.with_numbers(numbers).task_direction(meta, task_of(task))
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
        for node in differentiated.graph.nodes:
            if node.target is torch.ops.aten._efficientzerotensor.default:  # forward mode's zeros, which few know
                node.target = torch.ops.aten.zeros.default
        differentiated.recompile()
        table = {name: rule for name, rule in select_decomp_table().items() if name not in set(kept)}
        graph = trace(torch.func.functionalize(differentiated), decomposition_table=table)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def called(graph: Graph, target: Any, *args: Any) -> Node:
    """A new operation of a graph, which knows as those that were traced do what its result is like."""
    node = graph.call_function(target, args)
    node.meta["val"] = target(*torch.fx.node.map_arg(args, lambda each: each.meta["val"]))
    return node
