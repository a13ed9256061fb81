"""Several tasks abreast: a traced direction becomes that of so many tasks, which read the shared weights together.

A matrix of a wide network does not fit into the processor's caches, so it comes from memory for each product. The
examples of several tasks are rows of one product with it, and it comes once for all of them.
"""

from collections.abc import Callable
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from metabench.engines.tracing import called
from metabench.tensors import Params

ATEN = torch.ops.aten
WIDE = 65_536
"""Elements of a matrix that several tasks read together."""
MOST_TASKS = 4
"""Most tasks at once: with so many, the products take the time, and memory does not."""
CACHE = 1 << 20
"""Bytes of wide matrices that a processor's second cache may hold, so that reading them takes no time."""


def wide_bytes(meta: Params) -> int:
    """Bytes of the wide matrices among the meta-parameters."""
    return sum(p.nbytes for p in meta.values() if p.dim() == 2 and p.numel() >= WIDE)


def rows_of(tasks: int, threads: int, wide: int) -> tuple[int, ...]:
    """How many tasks a thread takes at once, and 1 where some are left; the wide matrices have so many bytes."""
    if wide <= CACHE:
        return (1,)
    together = min(MOST_TASKS, -(-tasks // threads))
    return (together, 1) if tasks % together else (together,)


def for_tasks(graph: GraphModule, shared: int, tasks: int) -> GraphModule:
    """The sum of the outputs over so many tasks; the first inputs are shared, the others follow task by task."""
    if tasks == 1:
        return graph
    copies = _Copies(graph, shared, tasks)
    for node in graph.graph.nodes:
        copies.visit(node)
    copies.graph.eliminate_dead_code()
    return GraphModule(graph, copies.graph)


class _Copies:
    """What a graph computes once for all tasks, or once for each."""

    def __init__(self, graph: GraphModule, shared: int, tasks: int) -> None:
        self.graph, self.tasks = Graph(), tasks
        self.called = partial(called, self.graph)
        inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self.of: dict[Node, list[Node]] = {node: [] for node in inputs}
        """One copy of each node that all tasks share, or as many as there are tasks."""
        for node in [*inputs[:shared], *inputs[shared:] * tasks]:
            copy = self.graph.placeholder(f"in{len(self.graph.nodes)}")
            copy.meta.update(node.meta)
            self.of[node].append(copy)

    def visit(self, node: Node) -> None:
        if node.op == "output":
            (given,) = node.args
            self.graph.output([self._summed(value) for value in given])  # type: ignore[union-attr, arg-type]
        elif node.op != "placeholder":
            self.of[node] = self._joined(node) or [
                self.graph.node_copy(node, self._at(task)) for task in range(self._number(node))
            ]

    def _joined(self, node: Node) -> list[Node]:
        """A product with a wide matrix that all tasks share, as parts of one product; empty for what is none."""
        if node.kwargs or node.target not in (ATEN.mm.default, ATEN.addmm.default):
            return []
        args: tuple[Any, ...] = node.args
        *bias, a, b = args
        whole, parts, dim = (b, a, 0) if self._shared(b) else (a, b, 1)
        if not self._shared(whole) or self._shared(parts) or whole.meta["val"].numel() < WIDE:
            return []
        if bias and (dim == 1 or not self._shared(*bias)):
            return []
        (one,), rows = self.of[whole], self.called(ATEN.cat.default, self.of[parts], dim)
        pair = (rows, one) if dim == 0 else (one, rows)
        product = self.called(node.target, *(self.of[each][0] for each in bias), *pair)
        ends = list(accumulate([parts.meta["val"].shape[dim]] * self.tasks, initial=0))
        return [self.called(ATEN.slice.Tensor, product, dim, *each) for each in pairwise(ends)]

    def _summed(self, value: Node) -> Node:
        copies = self.of[value]
        if len(copies) == 1:
            return self.called(ATEN.mul.Tensor, *copies, self.tasks)
        if copies[0].target == ATEN.mm.default:
            lefts, rights = zip(*(node.args for node in copies), strict=True)
            wide = self.called(ATEN.cat.default, lefts, 1), self.called(ATEN.cat.default, rights)
            return self.called(ATEN.mm.default, *wide)
        return reduce(partial(self.called, ATEN.add.Tensor), copies)

    def _number(self, node: Node) -> int:
        return max((len(self.of[each]) for each in node.all_input_nodes), default=1)

    def _shared(self, node: Node) -> bool:
        return len(self.of[node]) == 1

    def _at(self, task: int) -> Callable[[Node], Node]:
        return lambda node: self.of[node][task if len(self.of[node]) > 1 else 0]
