"""Wide matrices of low rank: what is computed by their factors is what is computed by their elements."""

import shutil
from typing import NamedTuple

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.inner_optimizers import INNER_OPTIMIZERS
from metabench.correctness.gate import relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES
from metabench.engines.native.factors import factored
from metabench.engines.tracing import traced
from wide_networks import EXAMPLES, WIDTH, direction, numbers, problem

REGRESSION = [
    name for name in ALGORITHMS.names() if "regression" in ALGORITHMS.get(name).kinds and name != "from-scratch"
]


def wide(graph) -> list[str]:
    """What a graph computes that has the elements of a wide matrix; views of its inputs are not computed."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function" and "permute" not in str(node.target)]
    return [node.name for node in nodes if node.meta["val"].numel() >= WIDTH * WIDTH]


class Given(NamedTuple):
    x: torch.Tensor = numbers(EXAMPLES, WIDTH)
    y: torch.Tensor = numbers(EXAMPLES, WIDTH + 1)[:, 1:]
    left: torch.Tensor = numbers(WIDTH, 2)
    right: torch.Tensor = numbers(2, WIDTH)
    whole: torch.Tensor = numbers(WIDTH, WIDTH)
    other: torch.Tensor = numbers(WIDTH, WIDTH + 4)[:, 4:]
    rate: torch.Tensor = numbers()
    bias: torch.Tensor = numbers(WIDTH)


def high(a, b):
    return a.repeat(2, 1).t() @ b.repeat(2, 1)


USES = {
    "adapted": lambda g: g.x @ (g.whole - 0.1 * g.left @ g.right),
    "turned": lambda g: g.x @ (g.whole.t() - (g.left @ g.right).t() * 0.1),
    "from the left": lambda g: (g.whole + g.left @ g.right) @ g.x.t(),
    "with a bias": lambda g: torch.addmm(g.bias, g.x, g.whole - g.left @ g.right),
    "with half a bias": lambda g: torch.addmm(g.bias, g.x, g.left @ g.right, beta=0.5),
    "by a rate": lambda g: g.x @ (g.whole - g.rate * (g.left @ g.right) / 3),
    "turned twice": lambda g: g.x @ (-(g.left @ g.right).t()).t(),
    "a difference of both": lambda g: g.x @ ((g.whole + g.left @ g.right) - (g.whole - 2 * g.left @ g.right)),
    "a sum of three, twice": lambda g: [
        m @ (g.whole + g.left @ g.right - g.right.t() @ g.left.t() + g.x[:2].t() @ g.right) for m in (g.x, g.y)
    ],
    "there and turned": lambda g: [
        g.x @ (g.whole + g.left @ g.right - g.x[:2].t() @ g.right),
        g.y @ (g.whole + g.left @ g.right - g.x[:2].t() @ g.right).t(),
    ],
    "from nothing": lambda g: g.x @ (torch.zeros_like(g.whole) + g.left @ g.right),
}
KEPT = {
    "read by its elements": lambda g: g.x @ (g.whole * (g.left @ g.right)),
    "scaled with a whole": lambda g: g.x @ (0.5 * (g.whole + g.left @ g.right)),
    "a whole less": lambda g: g.x @ (g.left @ g.right - g.whole),
    "divided by": lambda g: g.x @ (g.rate / (g.left @ g.right)),
    "of another shape": lambda g: g.x @ (g.whole + (g.left @ g.right)[:1]),
    "with a number": lambda g: g.x @ (1.0 + g.left @ g.right),
    "of a high rank": lambda g: g.x @ (g.whole + g.other @ g.whole),
    "sums of a high rank": lambda g: g.x @ (high(g.x, g.y) + high(g.y, g.x)),
}


def graphs(use):
    """The graph of a use, before and after."""

    def function(inputs):
        found = use(Given(*inputs))
        return list(found) if isinstance(found, list) else [found]

    return traced(function, Given()), factored(traced(function, Given()))


@pytest.mark.parametrize("name", [*USES, *KEPT])
def test_a_product_by_factors_is_the_product(name):
    plain, narrow = graphs((USES | KEPT)[name])
    for one, other in zip(plain(*Given()), narrow(*Given()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", USES)
def test_matrices_that_have_factors_are_not_made(name):
    plain, narrow = graphs(USES[name])
    if name == "with half a bias":
        assert wide(narrow) == wide(plain)
        return
    assert wide(plain) and not wide(narrow)


@pytest.mark.parametrize("name", KEPT)
def test_all_others_are_made(name):
    plain, narrow = graphs(KEPT[name])
    assert wide(narrow) == wide(plain)


@pytest.mark.parametrize(
    "use", [lambda g: g.left @ g.right + g.x.t() @ g.y, lambda g: g.whole - g.left @ g.right - g.x.t() @ g.y]
)
def test_what_is_given_out_is_one_product(use):
    _, narrow = graphs(use)
    products = [node for node in narrow.graph.nodes if node.target is torch.ops.aten.mm.default]
    assert len(products) == 1
    torch.testing.assert_close(narrow(*Given())[0], use(Given()))


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [
        *((name, {}) for name in REGRESSION),
        *(("maml", {"inner_optimizer": name}) for name in INNER_OPTIMIZERS),
        ("maml", {"second_order": "forward-over-reverse"}),
        ("maml", {"second_order": "forward-over-reverse", "kept_steps": 2, "inner_steps": 4}),
    ],
)
def test_the_direction_of_a_wide_network_is_that_of_loop(algorithm, fields, monkeypatch):
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))
    made, meta, episodes = problem(algorithm, **({"inner_steps": 2} | fields))
    found, metrics = ENGINES.get("native").build(made)(meta, episodes)
    truth, wanted = loop.build(made)(meta, episodes)
    assert relative_error(found, truth) < 1e-10
    assert float(metrics["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-11)


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_a_step_of_descent_makes_no_weights_of_its_own(algorithm):
    """What is wide are the direction's two wide matrices, each the product of all their factors."""
    graph, _ = direction(algorithm, inner_steps=1)
    made_of_it = wide(factored(graph))
    assert len(made_of_it) == 2 and all(name.startswith("mm") for name in made_of_it)
