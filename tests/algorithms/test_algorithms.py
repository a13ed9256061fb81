import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metabench.algorithms import base
from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.presets import most_specific
from metabench.algorithms.reptile import minibatches, portions
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, flat, task_at
from problems import SMOOTH, differences, points, random_params

NAMES = ["maml", "fomaml", "reptile", "anil"]
LR = 0.1


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


def problem():
    """A small smooth regression problem in float64."""
    return SMOOTH, random_params(SMOOTH.model, torch.Generator().manual_seed(0)), task_at(points(1), 0)


def build(name, learner, autodiff, steps=2):
    return ALGORITHMS.get(name)(learner, LR, steps, autodiff)


def assert_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    torch.testing.assert_close(
        flat(actual), flat({name: expected[name] for name in actual}), rtol=tolerance, atol=tolerance
    )


def hand_descend(learner, params, batches, names=None):
    """The inner loop written out with central differences, so that it shares nothing with ours."""
    for batch in batches:
        gradient = differences(lambda p, batch=batch: learner.loss(p, batch), params)
        params = {n: p - LR * gradient[n] if names is None or n in names else p for n, p in params.items()}
    return params


@pytest.mark.parametrize("name", NAMES)
def test_direction_is_the_gradient_of_the_definition(name, autodiff):
    learner, meta, task = problem()
    algorithm = build(name, learner, autodiff)
    direction, metrics = algorithm.task_direction(meta, task)
    assert_close(direction, differences(lambda m: algorithm.objective(m, meta, task), meta), 1e-7)
    assert metrics["loss"].shape == ()
    assert not metrics["loss"].requires_grad


def test_maml_against_an_inner_loop_of_finite_differences(autodiff):
    learner, meta, task = problem()
    direction, metrics = build("maml", learner, autodiff, steps=1).task_direction(meta, task)

    def query_loss(point):
        return learner.loss(hand_descend(learner, point, [task.support]), task.query)

    # second differences of size 1e-4 keep the rounding of the inner differences out
    assert_close(direction, differences(query_loss, meta, eps=1e-4), 1e-4)
    assert float(metrics["loss"]) == pytest.approx(float(query_loss(meta)), rel=1e-8)


def test_fomaml_is_the_query_gradient_at_the_adapted_parameters(autodiff):
    learner, meta, task = problem()
    direction, _ = build("fomaml", learner, autodiff).task_direction(meta, task)
    adapted = hand_descend(learner, meta, [task.support] * 2)
    assert_close(direction, differences(lambda p: learner.loss(p, task.query), adapted), 1e-6)


def test_reptile_is_the_way_gone_through_support_and_query(autodiff):
    learner, meta, task = problem()
    direction, _ = build("reptile", learner, autodiff, steps=3).task_direction(meta, task)
    adapted = hand_descend(learner, meta, [task.support, task.query, task.support])
    assert_close(direction, {n: meta[n] - adapted[n] for n in meta}, 1e-6)


def test_anil_moves_the_head_alone_and_differentiates_through_it(autodiff):
    learner, meta, task = problem()
    algorithm = build("anil", learner, autodiff)
    adapted = algorithm.adapt(meta, task.support)
    expected = hand_descend(learner, meta, [task.support] * 2, names=learner.model.head_names)
    assert_close(adapted, expected, 1e-7)
    for name in meta:
        assert torch.equal(adapted[name], meta[name]) == (name not in learner.model.head_names)


def test_second_order_differs_from_first(autodiff):
    learner, meta, task = problem()
    maml, _ = build("maml", learner, autodiff).task_direction(meta, task)
    fomaml, _ = build("fomaml", learner, autodiff).task_direction(meta, task)
    assert (flat(maml) - flat(fomaml)).norm() > 1e-2 * flat(maml).norm()


@pytest.mark.parametrize("name", NAMES)
def test_without_inner_steps_adaptation_changes_nothing(name, autodiff):
    learner, meta, task = problem()
    adapted = build(name, learner, autodiff, steps=0).adapt(meta, task.support)
    assert all(torch.equal(adapted[n], meta[n]) for n in meta)


@pytest.mark.parametrize("name", NAMES)
def test_adaptation_lowers_the_support_loss_at_every_step(name, autodiff):
    learner, meta, task = problem()
    algorithm = replace(build(name, learner, autodiff, steps=5), inner_lr=0.01)
    losses = [float(learner.loss(point, task.support)) for point in algorithm.trajectory(meta, task.support)]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_class_order_does_not_matter(name, autodiff):
    generator = torch.Generator().manual_seed(1)
    learner = Learner(Conv4((1, 28, 28), 5, 4, False, True), "classification")
    meta = {n: p.double() for n, p in learner.model.init(generator).items()}
    x, y = torch.rand(2, 10, 1, 28, 28, generator=generator).double(), torch.arange(5).repeat(2)
    task = Task(Batch(x[0], y), Batch(x[1], y), torch.arange(5))
    order = torch.tensor([3, 1, 4, 0, 2, 8, 6, 9, 5, 7])
    shuffled = Task(Batch(x[0][order], y[order]), Batch(x[1][order], y[order]), task.classes)
    algorithm = build(name, learner, autodiff)
    assert_close(algorithm.task_direction(meta, shuffled)[0], algorithm.task_direction(meta, task)[0], 1e-9)


@pytest.mark.parametrize(
    ("support", "query", "expected"),
    [
        (2, 4, [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3], [4, 5]]),
        (2, 5, [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2], [3, 4]]),
        (3, 1, [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3], [0, 1, 2], [3, 0, 1]]),
    ],
)
def test_reptile_minibatches_walk_through_the_task(support, query, expected):
    numbers = torch.arange(support + query)
    examples = Batch(numbers[:, None], numbers)
    task = Task(*(Batch(*each) for each in zip(*(part.split([support, query]) for part in examples), strict=True)), 0)
    found = list(minibatches(task, 6))
    assert [batch.y.tolist() for batch in found] == expected
    assert all(torch.equal(batch.x[:, 0], batch.y) for batch in found)


def test_reptile_tests_on_minibatches_of_the_support_set(autodiff):
    learner, meta, task = problem()  # six support examples
    algorithm = replace(build("reptile", learner, autodiff, steps=4), eval_batch=4)
    batches = [(batch.x, batch.y) for batch in portions(task.support, 4, 4)]
    assert_close(algorithm.adapt(meta, task.support), hand_descend(learner, meta, [Batch(*b) for b in batches]), 1e-6)
    direction, _ = algorithm.task_direction(meta, task)
    expected, _ = replace(algorithm, eval_batch=0).task_direction(meta, task)
    assert_close(direction, expected, 0)  # training is as it was


@pytest.mark.parametrize(("examples", "size"), [(25, 5), (25, 15), (20, 10), (5, 5), (3, 7)])
def test_each_pass_through_the_support_set_has_every_example_once(examples, size):
    support = Batch(torch.arange(examples).view(-1, 1), torch.arange(examples))
    steps = 3 * examples
    batches = list(portions(support, size, steps))
    assert [len(batch.y) for batch in batches] == [size] * steps
    assert all(torch.equal(batch.x[:, 0], batch.y) for batch in batches)
    passes = torch.cat([batch.y for batch in batches]).view(-1, examples).tolist()
    assert all(sorted(one) == list(range(examples)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert [batch.y.tolist() for batch in portions(support, size, steps)] == [batch.y.tolist() for batch in batches]


def test_without_a_size_each_minibatch_is_the_whole_support_set():
    support = Batch(torch.arange(3).view(-1, 1), torch.arange(3))
    assert all(batch is support for batch in portions(support, 0, 2))
    assert len(list(portions(support, 0, 2))) == 2


@pytest.mark.parametrize(
    ("task", "ways", "shots", "batch"),
    [
        *(("omniglot", 5, 1, 5), ("omniglot", 5, 5, 5), ("omniglot", 20, 1, 10), ("omniglot", 20, 5, 10)),
        *(("miniimagenet", 5, 1, 5), ("miniimagenet", 5, 5, 15)),
    ],
)
def test_reptile_is_tested_as_by_the_authors_commands(task, ways, shots, batch):
    preset = most_specific(ALGORITHMS.get("reptile").presets, "published", task, ways, shots)
    assert (preset.eval_batch, preset.eval_query, preset.eval_steps) == (batch, 1, 50)
    turned = ("classes", "none") if task == "omniglot" else ("random", "random")
    assert (preset.rotation, preset.eval_rotation) == turned


def test_the_most_specific_preset_counts():
    maml = ALGORITHMS.get("maml").presets
    assert most_specific(maml, "published", "omniglot", 5, 5).query == 5
    assert most_specific(maml, "published", "omniglot", 5, 1).query == 1
    assert most_specific(maml, "published", "omniglot", 20, 1).inner_steps == 5
    assert most_specific(maml, "published", "omniglot", 7, 1) is None
    assert most_specific(maml, "quick", "omniglot", 7, 1) is not None


@pytest.mark.parametrize("name", NAMES)
def test_initial_parameters_do_not_depend_on_the_algorithm(name):
    learner = Learner(MLP(1, 1, 40, 2), "regression")
    mine = build(name, learner, TAPE).init(torch.Generator().manual_seed(3))
    assert all(
        torch.equal(p, q)
        for p, q in zip(mine.values(), learner.model.init(torch.Generator().manual_seed(3)).values(), strict=True)
    )


ALLOWED = ("base", "conjugate_gradient", "implicit", "inner_loop", "inner_optimizers", "naming", "presets", "reversal")


@pytest.mark.parametrize("file", sorted(Path(base.__file__).parent.glob("*.py")), ids=lambda file: file.stem)
def test_an_algorithm_knows_no_engine_no_harness_and_no_other_algorithm(file):
    if file.stem in (*ALLOWED, "__init__"):
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    own = [module.split(".")[1:] for module in modules if module.startswith("metabench.")]
    for package, *names in own:
        assert package in ("algorithms", "autodiff", "errors", "models", "tensors"), file.name
        assert package != "algorithms" or names[0] in ALLOWED, file.name
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 160
