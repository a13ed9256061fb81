from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Batch, flat, task_at
from problems import perturbed, points

LR, CONTEXTS = 0.3, 2


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


def build(autodiff, steps=2, learner=None, **fields):
    learner = learner or Learner(MLP(inputs=3, outputs=1, width=6, layers=2), "regression")
    return ALGORITHMS.get("cavia")(learner, LR, steps, autodiff, contexts=CONTEXTS, **fields)


@pytest.fixture
def task():
    return task_at(points(1, examples=7, inputs=3), 0)


def concatenated(meta, phi, x):
    """The paper's network: the context parameters are further inputs of the first layer."""
    x = torch.cat([x, phi.expand(len(x), -1)], dim=1)
    first = torch.cat([meta["hidden1.weight"], meta["context.hidden1.bias"]], dim=1)
    x = F.relu(F.linear(x, first, meta["hidden1.bias"]))
    x = F.relu(F.linear(x, meta["hidden2.weight"], meta["hidden2.bias"]))
    return F.linear(x, meta["head.weight"], meta["head.bias"])


def hand_adapt(meta, support, steps):
    phi = torch.zeros(CONTEXTS, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        loss = (concatenated(meta, phi, support.x) - support.y).square().mean()
        phi = phi - LR * torch.autograd.grad(loss, phi, create_graph=True)[0]
    return phi


def test_a_perceptron_is_the_network_with_the_context_among_its_inputs(autodiff, task):
    algorithm = build(autodiff)
    meta = perturbed(algorithm)
    adapted = algorithm.adapt(meta, task.support)
    phi = hand_adapt(meta, task.support, 2)
    assert phi.abs().min() > 1e-3
    torch.testing.assert_close(adapted["phi"], phi)
    torch.testing.assert_close(algorithm.predict(adapted, task.query.x), concatenated(meta, phi, task.query.x))


def test_direction_is_the_second_order_gradient_of_that_network(autodiff, task):
    algorithm = build(autodiff)
    meta = perturbed(algorithm)
    leaves = {name: p.clone().requires_grad_() for name, p in meta.items()}
    outputs = concatenated(leaves, hand_adapt(leaves, task.support, 2), task.query.x)
    loss = (outputs - task.query.y).square().mean()
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    direction, metrics = algorithm.task_direction(meta, task)
    torch.testing.assert_close(direction, expected)
    assert float(metrics["loss"]) == pytest.approx(loss.item())
    first_order, _ = replace(algorithm, first_order=True).task_direction(meta, task)
    assert (flat(first_order) - flat(direction)).norm() > 1e-2 * flat(direction).norm()


def test_checkpointing_changes_no_number(task):
    meta = perturbed(build(TAPE))
    kept, _ = build(TAPE).task_direction(meta, task)
    computed_again, _ = build(TAPE, checkpoint=True).task_direction(meta, task)
    torch.testing.assert_close(computed_again, kept)


def test_the_context_alone_moves(autodiff, task):
    algorithm = build(autodiff)
    meta = perturbed(algorithm)
    path = list(algorithm.trajectory(meta, task.support))
    assert len(path) == 3
    assert torch.equal(path[0]["phi"], torch.zeros(CONTEXTS, dtype=torch.float64))
    assert all(point[name] is meta[name] for point in path for name in meta)
    assert algorithm.adapted_names(meta) == frozenset()


@pytest.mark.parametrize("normalise", [True, False])
def test_a_convolutional_network_is_modulated_after_its_third_convolution(autodiff, normalise):
    generator = torch.Generator().manual_seed(2)
    model = Conv4((1, 28, 28), 5, 4, False, normalise)
    algorithm = build(autodiff, learner=Learner(model, "classification"))
    meta = perturbed(algorithm)
    x, y = torch.rand(5, 1, 28, 28, generator=generator).double(), torch.arange(5)
    adapted = algorithm.adapt(meta, Batch(x, y))
    effective = algorithm.effective(adapted | {"norm1.mean": torch.zeros(4)})
    moved = {"norm3.weight", "norm3.bias"} if normalise else {"conv3.bias"}
    assert effective.keys() == model.init(generator).keys() | {"norm1.mean"}
    for name in model.init(generator):
        if name in moved:
            shift = (meta[f"context.{name}"] * adapted["phi"]).sum(1)
            assert shift.abs().max() > 1e-4
            torch.testing.assert_close(effective[name], meta[name] + shift)
        else:
            assert effective[name] is meta[name]


@pytest.mark.parametrize(("kind", "count"), [("regression", 5), ("classification", 100)])
def test_as_many_contexts_as_the_authors_have(kind, count):
    learner = Learner(MLP(inputs=1, outputs=5, width=6, layers=2), kind)
    algorithm = replace(build(TAPE, learner=learner), contexts=0)
    meta = algorithm.init(torch.Generator().manual_seed(3))
    assert meta["context.hidden1.bias"].shape == (6, count)
    for name, p in learner.model.init(torch.Generator().manual_seed(3)).items():
        assert torch.equal(meta[name], p)
