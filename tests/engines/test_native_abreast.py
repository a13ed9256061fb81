"""Several tasks abreast: their directions are the same, and a wide matrix is read once for all of them."""

import shutil

import pytest
import torch

from metabench.correctness.gate import relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES
from metabench.engines.native import abreast
from metabench.engines.native.abreast import for_tasks, rows_of, wide_bytes
from metabench.engines.native.factors import factored
from metabench.engines.tracing import traced
from wide_networks import WIDTH, direction, numbers, problem

SHARED = 3
MANY = 1 << 30  # bytes


def shared_products(graph, shared: int) -> int:
    """Products with a wide matrix that all tasks share, or with a view of it."""
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"][:shared]

    def root(node):
        return root(node.args[0]) if "permute" in str(node.target) else node

    nodes = [node for node in graph.graph.nodes if str(node.target) in ("aten.mm.default", "aten.addmm.default")]
    operands = [root(each) for node in nodes for each in node.args[-2:]]
    return sum(each in inputs and each.meta["val"].numel() >= WIDTH * WIDTH for each in operands)


@pytest.mark.parametrize(
    ("tasks", "threads", "wide", "rows"),
    [
        (4, 1, MANY, (4,)),
        (4, 2, MANY, (2,)),
        (5, 1, MANY, (4, 1)),
        (3, 1, MANY, (3,)),
        (3, 2, MANY, (2, 1)),
        (1, 2, MANY, (1,)),
        (25, 2, MANY, (4, 1)),
        (32, 2, MANY, (4,)),
        (25, 2, 0, (1,)),
    ],
)
def test_how_many_tasks_are_abreast(tasks, threads, wide, rows):
    assert rows_of(tasks, threads, wide) == rows


def test_wide_matrices_are_those_of_dense_layers():
    layers = {"dense": torch.zeros(512, 256), "narrow": torch.zeros(512, 5), "images": torch.zeros(512, 512, 3, 3)}
    assert wide_bytes(layers) == 4 * 512 * 256


FUNCTIONS = {
    "from the right": lambda w, b, c, x, y: [x @ w + y],
    "turned": lambda w, b, c, x, y: [x @ w.t()],
    "from the left": lambda w, b, c, x, y: [w @ y.t()],
    "with a shared bias": lambda w, b, c, x, y: [torch.addmm(b, x, w)],
    "with a bias of each task": lambda w, b, c, x, y: [torch.addmm(y[0], x, w)],
    "with half a bias": lambda w, b, c, x, y: [torch.addmm(b, x, w, beta=0.5)],
    "one after the other": lambda w, b, c, x, y: [((x @ w).tanh() @ w.t()).square() @ w],
    "a gradient": lambda w, b, c, x, y: [x.t() @ y, y.sum()],
    "shared alone": lambda w, b, c, x, y: [w @ w, b.square(), x.sum()],
    "a product of both": lambda w, b, c, x, y: [(x.t() @ y) @ w.t() + w, w],
    "a narrow matrix": lambda w, b, c, x, y: [x @ c],
}


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_outputs_of_tasks_abreast_are_the_sums_of_theirs(name, tasks, monkeypatch):
    monkeypatch.setattr(abreast, "WIDE", WIDTH * WIDTH)
    shared = [numbers(WIDTH, WIDTH), numbers(WIDTH), numbers(WIDTH, 2)]
    own = [[numbers(4 + task, WIDTH)[:4], numbers(4, WIDTH + task)[:, :WIDTH]] for task in range(tasks)]
    graph = traced(lambda inputs: FUNCTIONS[name](*inputs), [*shared, *own[0]])
    results = zip(*(graph(*shared, *task) for task in own), strict=True)
    found = for_tasks(graph, SHARED, tasks)(*shared, *(tensor for task in own for tensor in task))
    for one, others in zip(found, results, strict=True):
        torch.testing.assert_close(one, sum(others[1:], others[0]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("algorithm", "steps"), [("maml", 1), ("maml", 2), ("fomaml", 1), ("reptile", 2)])
def test_a_wide_matrix_is_read_as_often_for_four_tasks_as_for_one(algorithm, steps, monkeypatch):
    monkeypatch.setattr(abreast, "WIDE", WIDTH * WIDTH)
    graph, shared = direction(algorithm, steps)
    times = [shared_products(for_tasks(factored(graph), shared, tasks), shared) for tasks in (1, 4)]
    assert times[0] == times[1] > 0


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [
        ("maml", {"inner_steps": 1}),
        ("maml", {"inner_steps": 2}),
        ("maml", {"inner_steps": 3, "second_order": "forward-over-reverse", "kept_steps": 2}),
        *((name, {"inner_steps": 1}) for name in ("fomaml", "reptile", "meta-sgd", "anil", "imaml")),
    ],
)
def test_the_direction_of_five_tasks_is_that_of_loop(algorithm, fields, threads, monkeypatch):
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))
    monkeypatch.setattr(abreast, "CACHE", 0)
    monkeypatch.setattr(abreast, "WIDE", WIDTH * WIDTH)
    made, meta, episodes = problem(algorithm, 5, **fields)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, metrics = ENGINES.get("native").build(made)(meta, episodes)
    finally:
        torch.set_num_threads(before)
    truth, wanted = loop.build(made)(meta, episodes)
    assert relative_error(found, truth) < 1e-10
    assert float(metrics["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-11)
