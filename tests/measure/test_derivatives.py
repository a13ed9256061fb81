"""A network differentiated once and twice, against the same by torch.func."""

import pytest
import torch

from metabench.algorithms.base import Learner
from metabench.correctness.gate import relative_error
from metabench.measure.derivatives import PENALTY, differentiated_once, differentiated_twice
from metabench.models.base import MODELS
from metabench.tensors import Batch


@pytest.fixture(params=["conv2-8", "conv4-16-nonorm", "mlp-40x2"])
def case(request):
    """A learner, its parameters and a batch of eight examples in float64."""
    images, generator = request.param.startswith("conv"), torch.Generator().manual_seed(0)
    shape, outputs = ((1, 16, 16), 5) if images else ((1,), 1)
    learner = Learner(MODELS.get(request.param)(shape, outputs), "classification" if images else "regression")
    params = {name: p.double() for name, p in learner.model.init(generator).items()}
    x = torch.randn(8, *shape, generator=generator, dtype=torch.float64)
    y = torch.arange(8) % 5 if images else x.sin()
    return learner, params, Batch(x, y)


def penalised(learner, batch):
    """The loss with its penalty, as a function of the parameters."""

    def objective(params):
        in_x = torch.func.grad(lambda x: learner.loss(params, Batch(x, batch.y)))(batch.x)
        return learner.loss(params, batch) + PENALTY * in_x.flatten(1).abs().sum(1).mean()

    return objective


def test_once_is_the_gradient_of_the_loss(case):
    learner, params, batch = case
    expected = torch.func.grad(lambda p: learner.loss(p, batch))(params)
    assert relative_error(differentiated_once(learner, params, batch), expected) < 1e-12


def test_twice_is_the_gradient_of_the_loss_and_of_the_penalty(case):
    learner, params, batch = case
    found = differentiated_twice(learner, params, batch)
    assert relative_error(found, torch.func.grad(penalised(learner, batch))(params)) < 1e-10
    assert relative_error(found, differentiated_once(learner, params, batch)) > 1e-6  # the penalty is in it


def test_no_graph_is_kept_and_the_parameters_stay_as_they_are(case):
    learner, params, batch = case
    before = {name: p.clone() for name, p in params.items()}
    found = differentiated_twice(learner, params, batch)
    assert not any(each.requires_grad for each in (*found.values(), *params.values(), batch.x))
    assert all(torch.equal(params[name], p) for name, p in before.items())
