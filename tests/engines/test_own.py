"""An engine around somebody's own loop: right where it is, and told why where it does not fit."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import gate
from metabench.engines.own import engine_of
from metabench.errors import Unsupported
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape

CPU = torch.device("cpu")
SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)
MAML = ALGORITHMS.get("maml")(Learner(MODELS.get("mlp-40x2")((1,), 1), "regression"), 0.01, 2)


def network(width=40):
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, width), nn.ReLU(), nn.Linear(width, 1))


def loss_of(net, create_graph=True):
    def task_loss(params, support, query, algorithm):
        for _ in range(algorithm.inner_steps):
            loss = nn.functional.mse_loss(functional_call(net, params, support.x), support.y)
            gradients = torch.autograd.grad(loss, params.values(), create_graph=create_graph)
            params = {name: p - algorithm.inner_lr * g for (name, p), g in zip(params.items(), gradients, strict=True)}
        return nn.functional.mse_loss(functional_call(net, params, query.x), query.y)

    return task_loss


def judged(net, **more):
    return gate(MAML, engine_of(net, loss_of(net, **more)).build(MAML), SINUSOID, CPU)


def test_a_loop_of_ones_own_gives_the_direction_of_loop():
    result = judged(network())
    assert result.passed, result.reason
    assert result.engine_error < 1e-12 and result.loss_error < 1e-12


def test_a_forgotten_create_graph_is_named():
    result = judged(network(), create_graph=False)
    assert result.engine_error > 1e-3
    assert result.reason.endswith(
        "it is that of first order, in which inner gradients are constants (is create_graph=True missing?)"
    )


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (
            network(30),
            "its parameter 3 is '2.weight' of shape (30, 40), and the model's is 'hidden2.weight' of shape (40",
        ),
        (network()[:3], "it has 4 parameters, and the model has 6 (hidden1.weight, hidden1.bias, "),
        (nn.Sequential(network(), nn.Linear(1, 1)), "it has 8 parameters, and the model has 6"),
    ],
)
def test_a_network_that_does_not_fit_the_model_is_named_with_where_it_differs(net, says):
    with pytest.raises(Unsupported) as told:
        engine_of(net, loss_of(net)).build(MAML)
    assert str(told.value).startswith("the network does not fit the model: ") and says in str(told.value)


def test_buffers_follow_the_precision_of_the_gate():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.register_buffer("centre", torch.tensor([0.0]))

        def forward(self, x):
            assert self.centre.dtype == x.dtype
            return self.net(x - self.centre)

    assert judged(Centred()).passed
