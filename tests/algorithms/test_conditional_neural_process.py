import pytest
import torch
from torch import nn
from torch.distributions import Normal

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.conditional_neural_process import ConditionalNeuralProcess
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.errors import Unsupported
from metabench.evaluation import evaluate
from metabench.models.base import MODELS
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tasks.base import EpisodeShape
from metabench.tasks.sinusoid import Sinusoid
from metabench.tensors import Batch, Task
from problems import differences, random_params

INPUTS, OUTPUTS, WIDTH = 2, 3, 4


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


def problem(autodiff=TAPE, steps=0):
    """Two inputs and three outputs, five support and seven query points, in float64."""
    generator = torch.Generator().manual_seed(0)
    learner = Learner(MLP(INPUTS, OUTPUTS, WIDTH, layers=1), "regression")
    cnp = ConditionalNeuralProcess(learner, 0.0, steps, autodiff)
    meta = random_params(cnp, generator)
    x = torch.randn(12, INPUTS, generator=generator).double()
    y = torch.randn(12, OUTPUTS, generator=generator).double()
    return cnp, meta, Task(Batch(x[:5], y[:5]), Batch(x[5:], y[5:]), torch.zeros(1, dtype=torch.int64))


class ByHand(nn.Module):
    """The same two networks out of torch.nn, with the weights of `meta`."""

    def __init__(self, meta):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(INPUTS + OUTPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.decoder = nn.Sequential(
            *(nn.Linear(WIDTH + INPUTS, WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, 2 * OUTPUTS),
        )
        self.double()
        with torch.no_grad():
            for own, given in zip(self.parameters(), meta.values(), strict=True):
                own.copy_(given)

    def forward(self, support, x):
        r = sum(self.encoder(torch.cat([a, b])) for a, b in zip(*support, strict=True)) / len(support.x)
        raw = torch.stack([self.decoder(torch.cat([r, point])) for point in x])
        return Normal(raw[:, :OUTPUTS], 0.1 + 0.9 * torch.log(1 + torch.exp(raw[:, OUTPUTS:])))


def test_the_objective_and_its_gradient_are_those_of_a_network_of_torch_nn(autodiff):
    cnp, meta, task = problem(autodiff)
    direction, metrics = cnp.task_direction(meta, task)
    net = ByHand(meta)
    loss = -net(task.support, task.query.x).log_prob(task.query.y).sum() / len(task.query.x)
    loss.backward()
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-12)
    for expected, name in zip(net.parameters(), meta, strict=True):
        torch.testing.assert_close(direction[name], expected.grad, rtol=1e-10, atol=1e-12)


def test_the_direction_is_the_slope_of_the_objective(autodiff):
    cnp, meta, task = problem(autodiff)
    direction, _ = cnp.task_direction(meta, task)
    slopes = differences(lambda p: cnp.objective(p, meta, task), meta)
    torch.testing.assert_close(direction, slopes, rtol=1e-5, atol=1e-6)


def test_predictions_and_their_spread_are_those_of_the_network_of_torch_nn():
    cnp, meta, task = problem()
    adapted = cnp.adapt(meta, task.support)
    expected = ByHand(meta)(task.support, task.query.x)
    torch.testing.assert_close(cnp.predict(adapted, task.query.x), expected.mean.detach())
    torch.testing.assert_close(cnp.distribution(adapted, task.query.x)[1], expected.stddev.detach())


def test_support_points_have_no_order_but_each_x_has_its_own_y():
    cnp, meta, (support, query, _) = problem()
    order = torch.tensor([3, 1, 4, 0, 2])
    expected = cnp.predict(cnp.adapt(meta, support), query.x)
    shuffled = cnp.predict(cnp.adapt(meta, Batch(support.x[order], support.y[order])), query.x)
    mismatched = cnp.predict(cnp.adapt(meta, Batch(support.x, support.y[order])), query.x)
    torch.testing.assert_close(shuffled, expected, rtol=1e-12, atol=1e-12)
    assert (mismatched - expected).abs().max() > 1e-3


def test_a_support_set_given_twice_says_the_same():
    cnp, meta, (support, _, _) = problem()
    twice = cnp.adapt(meta, Batch(support.x.repeat(2, 1), support.y.repeat(2, 1)))
    torch.testing.assert_close(twice["representation"], cnp.adapt(meta, support)["representation"])


def test_there_is_no_inner_loop():
    cnp, meta, task = problem(steps=5)
    (adapted,) = cnp.trajectory(meta, task.support)
    assert adapted.keys() - meta.keys() == {"representation"}
    assert all(torch.equal(adapted[name], meta[name]) for name in meta)
    assert cnp.adapted_names(meta) == frozenset()


def test_the_published_sizes():
    preset = ConditionalNeuralProcess.presets["published/sinusoid"]
    learner = Learner(MODELS.get(preset.model)((1,), 1), "regression")
    meta = ConditionalNeuralProcess(learner, 0.0, 0).init(torch.Generator().manual_seed(0))
    shapes = [tuple(p.shape) for name, p in meta.items() if name.endswith("weight")]
    assert shapes == [(128, 2), (128, 128), (128, 128), (128, 128), (128, 129), (128, 128), (2, 128)]


def test_held_out_tasks_are_scored_by_the_squared_error_of_the_mean():
    learner = Learner(MLP(1, 1, 8, 1), "regression")
    cnp = ConditionalNeuralProcess(learner, 0.0, 0)
    meta = cnp.init(torch.Generator().manual_seed(0))
    distribution = Sinusoid(EpisodeShape(1, 5, 10))
    scores = evaluate(cnp, meta, distribution, "test", 2, 3, torch.Generator().manual_seed(1))
    (sx, sy), (qx, qy), _ = distribution.sample("test", 2, torch.Generator().manual_seed(1))
    means = torch.stack([cnp.predict(cnp.adapt(meta, Batch(*s)), x) for *s, x in zip(sx, sy, qx, strict=True)])
    expected = (means - qy).square().mean((1, 2))
    torch.testing.assert_close(scores, expected[:, None].double(), rtol=1e-5, atol=1e-6)


def test_it_learns_sinusoids():
    learner = Learner(MLP(1, 1, 32, 2), "regression")
    cnp = ALGORITHMS.get("cnp")(learner, 0.0, 0)
    meta = {n: p.requires_grad_() for n, p in cnp.init(torch.Generator().manual_seed(0)).items()}
    optimizer = torch.optim.Adam(meta.values(), lr=3e-3)
    distribution, generator = Sinusoid(EpisodeShape(1, 10, 10)), torch.Generator().manual_seed(1)
    losses = []
    for _ in range(300):
        loss = torch.func.vmap(cnp.objective, (None, None, 0))(meta, meta, distribution.sample("train", 16, generator))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(loss.mean().item())
    assert sum(losses[-20:]) < sum(losses[:20]) * 0.75


def test_classes_and_other_networks_are_unsupported():
    with pytest.raises(Unsupported, match="regression tasks, not for classification"):
        ConditionalNeuralProcess(Learner(MLP(1, 5, 8, 1), "classification", 20), 0.0, 0)
    with pytest.raises(Unsupported, match="not of a Conv4: choose a model such as mlp-128x3"):
        ConditionalNeuralProcess(Learner(Conv4((1, 28, 28), 1, 4, False, True), "regression"), 0.0, 0)
