from dataclasses import replace
from itertools import pairwise
from math import log

import pytest
import torch
from torch import nn

from metabench.algorithms.base import Learner
from metabench.algorithms.fine_tuning import FineTuning
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.correctness.gate import relative_error
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task
from problems import differences, random_params, torch_network

LR, STEPS = 0.3, 4
WAYS, CLASSES, DRAWN = 3, 7, [6, 0, 3]
JOINT = {"joint.weight", "joint.bias"}
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


@pytest.fixture(params=["classification", "regression"])
def kind(request):
    return request.param


def problem(kind, autodiff=TAPE):
    """Three ways of seven classes with one support and two query examples each; or as many points, in float64."""
    generator = torch.Generator().manual_seed(0)
    model = MLP(inputs=4, outputs=WAYS, width=5, layers=1)
    tuning = FineTuning(Learner(model, kind, CLASSES if kind == "classification" else 0), LR, STEPS, autodiff)
    meta = random_params(tuning, generator)
    x, y = (torch.randn(9, size, generator=generator).double() for size in (4, WAYS))
    if kind == "classification":
        y = torch.arange(WAYS).repeat(3)
    return tuning, meta, Task(Batch(x[:3], y[:3]), Batch(x[3:], y[3:]), torch.tensor(DRAWN))


def test_the_direction_is_that_of_training_one_network_of_torch_nn_on_all_examples(kind, autodiff):
    tuning, meta, task = problem(kind, autodiff)
    direction, metrics = tuning.task_direction(meta, task)
    net = torch_network(meta.values())
    outputs = net(torch.cat([task.support.x, task.query.x]))
    if kind == "classification":
        loss = nn.functional.cross_entropy(outputs, torch.tensor(DRAWN * 3))
    else:
        loss = nn.functional.mse_loss(outputs, torch.cat([task.support.y, task.query.y]))
    loss.backward()
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-12)
    assert direction.keys() == meta.keys()
    for expected, name in zip(net.parameters(), meta, strict=True):
        torch.testing.assert_close(direction[name], expected.grad, rtol=1e-10, atol=1e-12)


def test_the_direction_is_the_slope_of_the_objective(kind, autodiff):
    tuning, meta, task = problem(kind, autodiff)
    direction, _ = tuning.task_direction(meta, task)
    slopes = differences(lambda p: tuning.objective(p, meta, task), meta)
    torch.testing.assert_close(direction, slopes, rtol=1e-6, atol=1e-8)


def test_the_classes_of_a_task_are_rows_of_the_joint_layer():
    tuning, meta, task = problem("classification")
    level = {**meta, "joint.weight": 0 * meta["joint.weight"], "joint.bias": 0 * meta["joint.bias"]}
    direction, metrics = tuning.task_direction(level, task)
    assert float(metrics["loss"]) == pytest.approx(log(CLASSES), rel=1e-12)
    # softmax of zeros less the share of examples: a third for each drawn class
    expected = [1 / CLASSES - (1 / WAYS if row in DRAWN else 0) for row in range(CLASSES)]
    torch.testing.assert_close(direction["joint.bias"], torch.tensor(expected).double(), rtol=1e-6, atol=1e-8)
    # a way is its class: way 0 is class 6, so raising row 6 raises the probability of the examples of way 0 alone
    raised = {**level, "joint.bias": torch.eye(CLASSES)[6].double()}
    of_way = [Batch(task.support.x[[way]], task.support.y[[way]]) for way in range(WAYS)]
    losses = [float(tuning.objective(raised, raised, Task(one, one, task.classes))) for one in of_way]
    rest = log(CLASSES - 1 + torch.e)
    assert losses == pytest.approx([rest - 1, rest, rest], rel=1e-12)


def test_fine_tuning_is_sgd_of_torch_on_the_support_set(kind, autodiff):
    tuning, meta, task = problem(kind, autodiff)
    weights = list(meta.values())
    loss_of = nn.functional.mse_loss
    if kind == "classification":
        weights = [*weights[:2], torch.zeros(WAYS, 5), torch.zeros(WAYS)]
        loss_of = nn.functional.cross_entropy
    net = torch_network(weights)
    optimizer = torch.optim.SGD(net.parameters(), LR)
    for point in tuning.trajectory(meta, task.support):
        for expected, name in zip(
            net.parameters(), ["hidden1.weight", "hidden1.bias", "head.weight", "head.bias"], strict=True
        ):
            torch.testing.assert_close(point[name], expected.detach(), rtol=1e-9, atol=1e-11)
        optimizer.zero_grad()
        loss_of(net(task.support.x), task.support.y).backward()
        optimizer.step()


def test_a_new_head_starts_at_chance_and_every_step_lowers_the_loss():
    tuning, meta, task = problem("classification")
    points = list(tuning.trajectory(meta, task.support))
    losses = [float(tuning.learner.loss(point, task.support)) for point in points]
    assert len(points) == STEPS + 1
    assert losses[0] == pytest.approx(log(WAYS), rel=1e-12)
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert torch.equal(points[1]["hidden1.weight"], points[0]["hidden1.weight"])  # no slope through a head of zeros
    assert not torch.equal(points[2]["hidden1.weight"], points[1]["hidden1.weight"])


def test_the_joint_layer_has_no_part_in_adaptation():
    tuning, meta, task = problem("classification")
    adapted = tuning.adapt(meta, task.support)
    other = tuning.adapt({**meta, "joint.weight": -meta["joint.weight"]}, task.support)
    assert adapted.keys() == (meta.keys() - JOINT) | HEAD
    assert relative_error(other, adapted) < 1e-12
    assert tuning.adapted_names(meta) == meta.keys() - JOINT


def test_all_of_a_regression_network_is_fine_tuned():
    tuning, meta, task = problem("regression")
    adapted = tuning.adapt(meta, task.support)
    assert adapted.keys() == meta.keys() == tuning.adapted_names(meta)
    assert not any(torch.equal(adapted[name], meta[name]) for name in meta)


def test_what_was_learned_can_be_tuned_to_any_number_of_ways():
    tuning, meta, _ = problem("classification")
    learner = replace(tuning.learner, model=replace(tuning.learner.model, outputs=2))
    support = Batch(torch.eye(4)[:2].double(), torch.arange(2))
    adapted = replace(tuning, learner=learner).adapt(meta, support)
    assert learner.predict(adapted, support.x).argmax(1).tolist() == [0, 1]


def test_the_body_starts_where_that_of_other_algorithms_does(kind):
    tuning, _, _ = problem(kind)
    mine = tuning.init(torch.Generator().manual_seed(3))
    theirs = tuning.learner.model.init(torch.Generator().manual_seed(3))
    shared = mine.keys() & theirs.keys()
    assert shared == (theirs.keys() if kind == "regression" else theirs.keys() - HEAD)
    assert all(torch.equal(mine[name], theirs[name]) for name in shared)


def test_classes_without_identity_are_unsupported():
    with pytest.raises(Unsupported, match="classes have no identity"):
        FineTuning(Learner(MLP(4, 3, 5, 1), "classification"), LR, STEPS)
