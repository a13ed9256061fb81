"""Matrices of low rank that are never written down: a traced graph computes with their factors instead.

The gradient of a dense layer's weights is L R, where L has the errors of a few examples and R has their inputs. After
an inner step the weights are W - L R, and x (W - L R) = x W - (x L) R. With ten examples and a thousand inputs, the two
narrow products take a fiftieth of the wide one's time. The weights of a task are never made; only W is read.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, TypeAlias

import torch
from torch.fx import GraphModule, Node

from metabench.engines.tracing import called

Factors: TypeAlias = tuple[tuple[Node, Node], ...]
"""Pairs (m, r) and (r, n), whose products are added."""

ATEN = torch.ops.aten
SMALLEST = 4096
"""Elements of a matrix below which its factors save nothing."""
SAVED = 4
"""Factor by which the factors of a matrix must have fewer elements than itself."""


@dataclass(frozen=True)
class Sum:
    """A matrix as a sum of matrices and of products."""

    whole: tuple[Node, ...]
    products: Factors = ()


def factored(graph: GraphModule) -> GraphModule:
    """Compute with the factors of wide matrices wherever one is multiplied, or given out; the graph is changed."""
    factors = _Factored(graph)
    for node in list(graph.graph.nodes):
        factors.visit(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Factored:
    """What the matrices of a graph are sums of, from its first node to the one that is being visited."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph.graph
        self.called = partial(called, self.graph)
        self.mm = partial(self.called, ATEN.mm.default)
        self.sums: dict[Node, Sum] = {}
        """The matrices that have factors."""
        self.joined: dict[Factors, tuple[Node, Node]] = {}
        self.turned: dict[Node, Node] = {}

    def visit(self, node: Node) -> None:
        if node.op == "output":
            (given,) = node.args
            with self.graph.inserting_before(node):
                node.args = ([self._written(value) for value in given],)  # type: ignore[union-attr]
        if node.op != "call_function":
            return
        args: tuple[Any, ...] = node.args
        with self.graph.inserting_before(node):
            product = None
            if node.target == ATEN.mm.default:
                product = self._product_of(*args)
            elif node.target == ATEN.addmm.default and not node.kwargs:
                bias, *pair = args
                product = self._product_of(*pair)
                product = product and self.called(ATEN.add.Tensor, bias, product)
            if product:
                node.replace_all_uses_with(product)
            found = self._sum_of(node)
        if found is not None and found.products and _saves(node, found.products):
            self.sums[node] = found

    def _product_of(self, a: Node, b: Node) -> Node | None:
        """The product of two matrices by the factors of one of them; None where neither has any."""
        if b in self.sums:
            found = self.sums[b]
            one, other = self._join(found.products)
            return self._added([*(self.mm(a, whole) for whole in found.whole), self.mm(self.mm(a, one), other)])
        if a in self.sums:
            found = self.sums[a]
            one, other = self._join(found.products)
            return self._added([*(self.mm(whole, b) for whole in found.whole), self.mm(one, self.mm(other, b))])
        return None

    def _written(self, value: Any) -> Any:
        """A matrix that is given out: one product of all its factors, and what it has beside them."""
        if not isinstance(value, Node) or value not in self.sums:
            return value
        found = self.sums[value]
        return self._added([*found.whole, self.mm(*self._join(found.products))])

    def _sum_of(self, node: Node) -> Sum | None:
        """What a matrix is a sum of, where it has factors."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dim() != 2 or value.numel() < SMALLEST:
            return None
        args: tuple[Any, ...] = node.args
        rule = _RULES.get(node.target)
        return rule(self, node, *args) if rule and not node.kwargs else None

    def _product(self, node: Node, a: Node, b: Node) -> Sum:
        return Sum((), ((a, b),))

    def _turn(self, node: Node, of: Node, dims: list[int]) -> Sum | None:
        found = self.sums.get(of)
        if found is None or dims != [1, 0]:
            return None
        whole = tuple(self._transposed(each) for each in found.whole)
        return Sum(whole, self._transposed_factors(found.products))

    def _times(self, node: Node, a: Any, b: Any) -> Sum | None:
        return self._scaled(node, a, b) or self._scaled(node, b, a)

    def _scaled(self, node: Node, of: Any, *by: Any) -> Sum | None:
        """A matrix of factors alone, negative or by a number: the second factor of each pair becomes so."""
        found = self.sums.get(of)
        if found is None or found.whole or any(isinstance(each, Node) and each.meta["val"].dim() for each in by):
            return None
        return Sum((), tuple((a, self.called(node.target, b, *by)) for a, b in found.products))

    def _sum(self, node: Node, a: Any, b: Any) -> Sum | None:
        one, other = self._part(a, node), self._part(b, node)
        if one is None or other is None:
            return None
        return Sum((*one.whole, *other.whole), (*one.products, *other.products))

    def _difference(self, node: Node, a: Any, b: Any) -> Sum | None:
        """What is subtracted as a whole must be among what it is subtracted from."""
        one, other = self._part(a, node), self._part(b, node)
        if one is None or other is None or Counter(other.whole) - Counter(one.whole):
            return None
        rest = Counter(one.whole) - Counter(other.whole)
        negative = tuple((left, self.called(ATEN.neg.default, right)) for left, right in other.products)
        return Sum(tuple(rest.elements()), (*one.products, *negative))

    def _part(self, value: Any, node: Node) -> Sum | None:
        """A summand; None for a number, and for what is broadcast."""
        if not isinstance(value, Node) or value.meta["val"].shape != node.meta["val"].shape:
            return None
        if value in self.sums:
            return self.sums[value]
        nothing = value.target == ATEN.full.default and value.args[1] == 0
        return Sum(() if nothing else (value,))

    def _join(self, products: Factors) -> tuple[Node, Node]:
        """Two factors for a sum of products: they lie beside each other."""
        if len(products) == 1:
            return products[0]
        around = self._transposed_factors(products)
        if around in self.joined:
            one, other = self.joined[around]
            return self._transposed(other), self._transposed(one)
        if products not in self.joined:
            left = self.called(ATEN.cat.default, [a for a, _ in products], 1)
            self.joined[products] = left, self.called(ATEN.cat.default, [b for _, b in products])
        return self.joined[products]

    def _transposed_factors(self, products: Factors) -> Factors:
        return tuple((self._transposed(b), self._transposed(a)) for a, b in products)

    def _transposed(self, node: Node) -> Node:
        if node.target == ATEN.permute.default and list(node.args[1]) == [1, 0]:  # type: ignore[arg-type]
            return node.args[0]  # type: ignore[return-value]
        if node not in self.turned:
            self.turned[node] = self.called(ATEN.permute.default, node, [1, 0])
        return self.turned[node]

    def _added(self, terms: list[Node]) -> Node:
        return reduce(partial(self.called, ATEN.add.Tensor), terms)


def _saves(node: Node, products: Factors) -> bool:
    rows, columns = node.meta["val"].shape
    rank = sum(a.meta["val"].shape[1] for a, _ in products)
    return bool(SAVED * rank * (rows + columns) <= rows * columns)


_RULES: dict[Any, Callable[..., Sum | None]] = {
    ATEN.mm.default: _Factored._product,
    ATEN.permute.default: _Factored._turn,
    ATEN.neg.default: _Factored._scaled,
    ATEN.mul.Tensor: _Factored._times,
    ATEN.mul.Scalar: _Factored._times,
    ATEN.div.Tensor: _Factored._scaled,
    ATEN.add.Tensor: _Factored._sum,
    ATEN.sub.Tensor: _Factored._difference,
}
"""What a matrix is a sum of, by the operation that gives it and has no keywords."""
