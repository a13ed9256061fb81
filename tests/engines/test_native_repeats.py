"""Inner steps in a loop: the direction is the same, and neither the code nor the memory grows with the steps."""

import re
import shutil
from dataclasses import replace

import pytest
import torch
from torch.fx import GraphModule

from convolutional import Net
from convolutional import problem as problem_of_images
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.inner_loop import descend
from metabench.correctness.gate import nudge, relative_error
from metabench.engines import loop, native
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.flat import Episodes
from metabench.engines.native import abreast, alike, repeats
from metabench.engines.outer import Outer
from metabench.engines.tracing import stage_of, traced
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import cast
from wide_networks import WIDTH
from wide_networks import problem as wide_problem

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
IN_LOOPS = [name for name in ALGORITHMS.names() if ALGORITHMS.get(name).order == "second" and name != "maml++"]
NOT_DIFFERENTIATED = ["fomaml", "imaml"]


@pytest.fixture(autouse=True)
def compiled_in_a_hurry(monkeypatch):
    monkeypatch.setattr(native, "FLAGS", ("-O1", *native.FLAGS[1:]))


def problem(algorithm="maml", steps=3, kept=2, **fields):
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 4, 5), None)
    learner = Learner(MLP(1, 1, 9, 2), distribution.kind, distribution.training_classes)
    if kept:
        fields |= {"second_order": "forward-over-reverse", "kept_steps": kept}
    made = ALGORITHMS.get(algorithm)(learner, 0.02, steps, **fields)
    meta = {n: p.double() for n, p in nudge(made.init(torch.Generator()), torch.Generator().manual_seed(2)).items()}
    episodes = distribution.sample("train", 2, torch.Generator().manual_seed(1))
    return made, meta, cast(episodes, next(iter(meta.values())))


def truth_of(made, meta, episodes):
    return loop.build(replace(made, second_order="reverse", kept_steps=0))(meta, episodes)


def source_of(made, meta, episodes):
    stage, _ = stage_of(replace(made, autodiff=native.FUNCTIONAL))
    shapes = tuple((name, p.shape) for name, p in meta.items())
    return native.body_for(stage, shapes, Episodes(episodes).signature)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("algorithm", IN_LOOPS)
def test_every_algorithm_has_the_direction_of_loop(algorithm, optimizer):
    made, meta, episodes = problem(algorithm, steps=9, kept=3, inner_optimizer=optimizer)
    direction, metrics = ENGINES.get("native").build(made)(meta, episodes)
    truth, truth_metrics = truth_of(made, meta, episodes)
    back = [line for line in source_of(made, meta, episodes)[0].splitlines() if "back<" in line]
    assert back and all(line.endswith("true);") for line in back), (
        "the way there has kept what the way back begins with"
    )
    assert relative_error(direction, truth) < 1e-12
    assert float(metrics["loss"]) == pytest.approx(float(truth_metrics["loss"]), rel=1e-12)


@pytest.mark.parametrize(
    ("steps", "kept"), [(1, 1), (2, 1), (5, 1), (2, 2), (4, 2), (11, 2), (11, 3), (30, 4), (7, 7), (3, 50)]
)
def test_every_schedule(steps, kept):
    made, meta, episodes = problem(steps=steps, kept=kept)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_steps_that_differ_stand_one_after_the_other(optimizer):
    """The number of the step is in what these do."""
    made, meta, episodes = problem(inner_optimizer=optimizer)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12
    assert "repeat" not in source_of(made, meta, episodes)[0]


def test_no_step_is_no_loop():
    made, meta, episodes = problem(steps=0)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


def test_loops_of_several_networks_in_one_process():
    """Each library has its own places of the parameters; weights of convolutions lie as those read them."""
    dense, images = problem(steps=5), problem_of_images(Net(16, pool=2))
    techniques = {"inner_steps": 5, "second_order": "forward-over-reverse", "kept_steps": 2}
    for made, meta, episodes in (dense, images, dense):
        made = replace(made, **techniques)
        direction, _ = ENGINES.get("native").build(made)(meta, episodes)
        assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


def test_neither_code_nor_memory_grows_with_the_steps():
    texts, scratches = zip(
        *(
            source_of(made, meta, episodes)
            for made, meta, episodes in (problem(steps=steps, kept=4) for steps in (10, 100, 1000))
        ),
        strict=True,
    )
    assert len(set(scratches)) == 1
    assert len({re.sub(r"steps = \d+", "steps = N", text) for text in texts}) == 1
    assert len(set(texts)) == 3


def test_an_iteration_is_that_of_loop():
    """Whole iterations, on all threads, with the outer update."""
    made, meta, episodes = problem(steps=6, kept=3)
    outer = Outer("adam", 1e-3, "none", 10)
    ours = ENGINES.get("native").start(made, meta, outer)
    truth = Stepwise(loop.build(made), meta, outer)
    for iteration in (ours, truth):
        for _ in range(2):
            iteration.run(iteration.take(episodes))
    assert relative_error(ours.meta, truth.meta) < 1e-12


@pytest.fixture
def never_written_out(monkeypatch):
    monkeypatch.setattr(repeats, "OPERATIONS", 0)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("algorithm", NOT_DIFFERENTIATED)
def test_steps_that_are_not_gone_back_through(algorithm, steps, optimizer, never_written_out):
    made, meta, episodes = problem(algorithm, steps, kept=0, inner_optimizer=optimizer)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert source_of(made, meta, episodes)[0].count(" there<") == 1 + (algorithm == "imaml")
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


def test_a_network_for_images_goes_on_in_a_loop(never_written_out):
    made, meta, episodes = problem_of_images(Net(16, pool=2), algorithm="fomaml")
    made = replace(made, inner_steps=4)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert " there<" in source_of(made, meta, episodes)[0]
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


def calls(text):
    """The products in each function of a step."""
    steps = re.findall(r"namespace step\d+ \{.*?\n\}", text, re.DOTALL)
    return [len(re.findall(r" (?:product|product_of_rows|convolution|winograd)<", step)) for step in steps]


@pytest.mark.parametrize(("algorithm", "images"), [("imaml", False), ("imaml", True), ("imaml-as-coded", True)])
def test_products_that_are_alike_in_all_steps_are_computed_before_them(
    algorithm, images, monkeypatch, never_written_out
):
    """Of conjugate gradient: the passes through the network that its products with the Hessian begin with."""
    made, meta, episodes = (
        problem_of_images(Net(16, pool=2), algorithm=algorithm) if images else problem(algorithm, 2, 0)
    )
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12
    descent, solving = calls(source_of(made, meta, episodes)[0])
    native.body_for.cache_clear()
    monkeypatch.setattr(alike, "PRODUCTS", ())
    same, anew = calls(source_of(made, meta, episodes)[0])
    assert same == descent and anew > solving
    native.body_for.cache_clear()


def test_what_follows_from_a_vector_is_left_to_the_steps():
    def step(inputs):
        state, weights, bias = inputs
        return [state @ (weights @ weights.T) + bias.exp()]

    shapes = ((2, 3), (3, 3), (3,))
    before, rest = alike.parted(traced(step, [torch.zeros(shape) for shape in shapes]), 1)
    assert sum("mm" in str(node.target) for node in before.nodes) == 1
    assert sum("mm" in str(node.target) for node in rest.graph.nodes) == 1
    assert not any("exp" in str(node.target) for node in before.nodes), "it takes no longer than to read it"
    given = [torch.randn(shape) for shape in shapes]
    found = GraphModule(torch.nn.Module(), before)(*given[1:])
    torch.testing.assert_close(rest(*given, *found), step(given))


def test_without_a_product_nothing_is_computed_before_the_steps():
    graph = traced(lambda inputs: [inputs[0] * inputs[1].exp().sum()], [torch.zeros(3), torch.zeros(3)])
    before, rest = alike.parted(graph, 1)
    assert not [node for node in before.nodes if node.op == "call_function"]
    given = [torch.randn(3), torch.randn(3)]
    torch.testing.assert_close(rest(*given), [given[0] * given[1].exp().sum()])


def test_few_operations_are_written_out_and_many_are_not():
    texts = [source_of(*problem("fomaml", steps, kept=0))[0] for steps in (2, 100, 1000)]
    few, many, more = [" there<" in text for text in texts]
    assert (few, many, more) == (False, True, True)
    assert texts[2] == texts[1].replace("steps = 100", "steps = 1000")


def test_steps_that_use_more_than_they_are_given_are_written_out(never_written_out):
    """A loss may have a tensor of its own: a loop would not see it."""

    class Pulled(ALGORITHMS.get("fomaml")):
        def trajectory(self, meta, support):
            middle = {name: p.square() for name, p in meta.items()}

            def loss(params, batch):
                return self.learner.loss(params, batch) + sum((p * middle[n]).sum() for n, p in params.items())

            return descend(self, loss, meta, [support] * self.inner_steps)

    made, meta, episodes = problem("fomaml", 4, kept=0)
    made = Pulled(made.learner, made.inner_lr, made.inner_steps)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert " there<" not in source_of(made, meta, episodes)[0]
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12


@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [("fomaml", {}), ("maml", {"second_order": "forward-over-reverse", "kept_steps": 2})],
)
def test_loops_of_tasks_abreast(algorithm, fields, monkeypatch, never_written_out):
    monkeypatch.setattr(abreast, "CACHE", 0)
    monkeypatch.setattr(abreast, "WIDE", WIDTH * WIDTH)
    made, meta, episodes = wide_problem(algorithm, tasks=4, inner_steps=4, **fields)
    direction, _ = ENGINES.get("native").build(made)(meta, episodes)
    assert relative_error(direction, truth_of(made, meta, episodes)[0]) < 1e-12
