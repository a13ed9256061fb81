import pytest
import torch
from torch import nn

from metabench.algorithms.base import Learner
from metabench.algorithms.from_scratch import FromScratch
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.engines.outer import MetaOptimizer, Outer
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task
from problems import random_params, torch_network

LR, STEPS = 0.05, 6
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adam": torch.optim.Adam,
}


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


@pytest.fixture(params=["classification", "regression"])
def kind(request):
    return request.param


def problem(kind, autodiff=TAPE, optimizer="adam"):
    """Three ways, or outputs, with two support and two query examples each, in float64."""
    generator = torch.Generator().manual_seed(0)
    scratch = FromScratch(Learner(MLP(4, 3, 5, 1), kind), LR, STEPS, autodiff, optimizer)
    meta = random_params(scratch, generator)
    x, y = (torch.randn(12, size, generator=generator).double() for size in (4, 3))
    if kind == "classification":
        y = torch.arange(3).repeat(4)
    return scratch, meta, Task(Batch(x[:6], y[:6]), Batch(x[6:], y[6:]), torch.arange(3))


def trained_by_torch(meta, kind, optimizer, batch):
    """The same network out of torch.nn after as many steps of an optimiser of torch, and its loss function."""
    net = torch_network(meta.values())
    steps = OPTIMIZERS[optimizer](net.parameters(), lr=LR)
    loss_of = nn.functional.cross_entropy if kind == "classification" else nn.functional.mse_loss
    for _ in range(STEPS):
        steps.zero_grad()
        loss_of(net(batch.x), batch.y).backward()
        steps.step()
    return net, loss_of


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_adapting_is_training_a_network_of_torch_nn_by_an_optimiser_of_torch(kind, autodiff, optimizer):
    scratch, meta, task = problem(kind, autodiff, optimizer)
    adapted = scratch.adapt(meta, task.support)
    net, _ = trained_by_torch(meta, kind, optimizer, task.support)
    # Adam's ε of 1e-8 stands inside the root here and outside it in torch
    tolerance = 1e-6 if optimizer == "adam" else 1e-10
    for expected, name in zip(net.parameters(), meta, strict=True):
        torch.testing.assert_close(adapted[name], expected.detach(), rtol=tolerance, atol=tolerance)


def test_nothing_is_learned_and_the_loss_is_that_of_the_queries_after_training(kind, autodiff):
    scratch, meta, task = problem(kind, autodiff)
    direction, metrics = scratch.task_direction(meta, task)
    assert direction.keys() == meta.keys()
    assert all(torch.equal(direction[name], torch.zeros_like(p)) for name, p in meta.items())
    net, loss_of = trained_by_torch(meta, kind, "adam", task.support)
    assert float(metrics["loss"]) == pytest.approx(loss_of(net(task.query.x), task.query.y).item(), rel=1e-6)
    assert not metrics["loss"].requires_grad


def test_the_objective_does_not_depend_on_the_meta_parameters(kind):
    scratch, meta, task = problem(kind)
    elsewhere = {name: p + 1 for name, p in meta.items()}
    here = scratch.objective(meta, meta, task)
    assert float(scratch.objective(elsewhere, meta, task)) == pytest.approx(float(here), rel=1e-9)
    assert float(scratch.objective(meta, elsewhere, task)) != pytest.approx(float(here), rel=1e-3)


@pytest.mark.parametrize("outer", ["adam", "sgd"])
def test_an_outer_step_leaves_the_weights_where_the_seed_put_them(outer):
    scratch, meta, task = problem("regression")
    optimizer = MetaOptimizer({name: p.clone() for name, p in meta.items()}, Outer(outer, 0.1, "none", 1))
    optimizer.update(scratch.task_direction(optimizer.meta, task)[0])
    assert all(torch.equal(optimizer.meta[name], p) for name, p in meta.items())


def test_it_starts_from_the_weights_of_the_seed_that_other_algorithms_start_from():
    scratch, _, _ = problem("regression")
    mine, model = scratch.init(torch.Generator().manual_seed(3)), scratch.learner.model
    theirs = model.init(torch.Generator().manual_seed(3))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_presets_train_for_no_iterations():
    assert FromScratch.presets
    assert all(preset.iterations == 0 for preset in FromScratch.presets.values())
    assert all(preset.inner_steps == preset.eval_steps > 0 for preset in FromScratch.presets.values())
