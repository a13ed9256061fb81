"""What is the same in every step of a loop, and so is computed once, before it.

Conjugate gradient multiplies vectors with one Hessian: the passes through the network at that point are alike in each
of its steps, and only what follows a vector differs.
"""

import operator
from collections.abc import Iterable, Iterator

from torch.fx import Graph, GraphModule, Node

from metabench.engines.native.operations import POINTWISE

PRODUCTS = ("convolution", "convolution_backward", "mm", "bmm", "addmm")
"""Operations that take most of the time. What they read lies in memory."""
VIEWS = ("view", "permute", "expand", "unsqueeze", "squeeze", "select", "slice", "alias", "split", "unbind")
"""Operations that move nothing."""


def parted(graph: GraphModule, own: int) -> tuple[Graph, GraphModule]:
    """What follows from all inputs but the first `own`, as a graph of those, and the rest, which has its results.

    Views, and operations on elements that no product reads, are left to the rest: they take no longer than to read
    what they give. Without a product that is alike in all steps, nothing is computed before them.
    """
    nodes = list(graph.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    alike = set(inputs[own:])
    for node in nodes:
        if node.op == "call_function" and alike.issuperset(node.all_input_nodes):
            alike.add(node)
    read: set[Node] = set()
    for node in nodes:
        if node not in alike and node.op != "placeholder":
            read.update(_results(node.all_input_nodes, alike, _name(node) in PRODUCTS))
    needed = _before(read)
    if not any(_name(node) in PRODUCTS for node in needed):
        read = needed = set()
    before, rest = Graph(), Graph()
    results = _copied(before, inputs[own:], [node for node in nodes if node in needed])
    chosen = [node for node in nodes if node in read]
    before.output([results[node] for node in chosen])
    kept = [node for node in nodes if node not in read and node.op == "call_function"]
    copies = _copied(rest, [*inputs, *chosen], kept)
    (given,) = nodes[-1].args
    rest.output([copies[node] for node in given])
    rest.eliminate_dead_code()
    return before, GraphModule(graph, rest)


def _name(node: Node) -> str:
    return "" if node.target is operator.getitem else f"{node.target}..".split(".")[1]


def _results(nodes: Iterable[Node], alike: set[Node], of_product: bool) -> Iterator[Node]:
    """What is to be computed before the steps for one of them to read these."""
    for node in nodes:
        if node not in alike or not node.all_input_nodes:
            continue
        if _name(node) in VIEWS:
            yield from _results(node.all_input_nodes, alike, of_product)
        elif _name(node) in POINTWISE and not of_product:
            yield from _results(node.all_input_nodes, alike, False)
        else:
            yield node


def _before(nodes: Iterable[Node]) -> set[Node]:
    """The nodes, and all that they follow from."""
    found: set[Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found


def _copied(graph: Graph, inputs: Iterable[Node], nodes: Iterable[Node]) -> dict[Node, Node]:
    """The copies of these nodes in a new graph, whose inputs are in the place of the first ones."""
    copies: dict[Node, Node] = {}
    for i, node in enumerate(inputs):
        copies[node] = graph.placeholder(f"in{i}")
        copies[node].meta.update(node.meta)
    for node in nodes:
        if node.op == "call_function":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return copies
