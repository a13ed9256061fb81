"""Small problems that the tests of several algorithms share, and what their results are compared with."""

import pytest
import torch
from torch import nn

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import TAPE
from metabench.models.conv4 import Conv4
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, task_at


class WithoutStatistics(Conv4):
    """Gives none, as a stock module of batch normalisation that is wrapped by hand."""

    def statistics(self, params, x):
        return {}


class HalfTheStatistics(Conv4):
    def statistics(self, params, x):
        return {name: p for name, p in super().statistics(params, x).items() if name.startswith("norm1")}


class Smooth(MLP):
    """One hidden layer of tanh, which has no kinks, so that differences are exact to rounding."""

    def features(self, params, x):
        return torch.tanh(x @ params["hidden1.weight"].T + params["hidden1.bias"])


class Linear(MLP):
    """An embedding that can be computed by hand."""

    def features(self, params, x):
        return x @ params["hidden1.weight"].T


SMOOTH = Learner(Smooth(inputs=2, outputs=1, width=3, layers=1), "regression")
"""It learns `points`."""
CONV = Learner(Conv4((1, 16, 16), 3, 2, max_pool=False, normalise=True), "classification")
"""It learns `images`."""


def convolutional(name, ways, autodiff=TAPE):
    """An algorithm without inner steps, of a network for the images of 28x28 pixels of `image_episodes`."""
    return ALGORITHMS.get(name)(Learner(Conv4((1, 28, 28), ways, 4, False, True), "classification"), 0.0, 0, autodiff)


def torch_network(weights):
    """A network of torch.nn with those weights and biases, of the one hidden layer and of the head."""
    (hidden, _, out, _) = weights
    net = nn.Sequential(
        nn.Linear(hidden.shape[1], hidden.shape[0]), nn.ReLU(), nn.Linear(out.shape[1], out.shape[0])
    ).double()
    with torch.no_grad():
        for own, given in zip(net.parameters(), weights, strict=True):
            own.copy_(given)
    return net


def perturbed(algorithm, size=0.1):
    """Initial meta-parameters in float64, each number a little off: zero biases, for one, would hide errors."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: p.double() + size * torch.randn(p.shape, generator=generator).double()
        for name, p in algorithm.init(generator).items()
    }


def random_params(made, generator):
    """Normal numbers in float64 in place of the initial parameters of a model or an algorithm."""
    return {name: torch.randn(p.shape, generator=generator).double() for name, p in made.init(generator).items()}


def points(tasks=2, examples=6, inputs=2):
    """An episode batch of regression in float64, as many query examples as support examples in each task."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, tasks, examples, inputs, generator=generator).double()
    y = torch.randn(2, tasks, examples, 1, generator=generator).double()
    return Task(Batch(x[0], y[0]), Batch(x[1], y[1]), torch.zeros(tasks, 1, dtype=torch.int64))


def image_episodes(tasks, ways, shots=2, query=3, size=28):
    """An episode batch of square images of noise in float64, with `query` query examples of each class."""
    generator = torch.Generator().manual_seed(1)

    def batch(count):
        y = torch.arange(ways).repeat(count).expand(tasks, -1)
        return Batch(torch.rand(tasks, ways * count, 1, size, size, generator=generator).double(), y)

    return Task(batch(shots), batch(query), torch.zeros(tasks, ways, dtype=torch.int64))


def images():
    """Two tasks of three ways for `CONV`."""
    return image_episodes(2, 3, query=2, size=16)


BOTH = pytest.mark.parametrize(("learner", "episodes"), [(SMOOTH, points()), (CONV, images())], ids=["mlp", "conv4"])


def differences(function, params, eps=1e-6):
    """The gradient of `function` by central differences, one number of one parameter at a time."""
    gradient = {name: torch.zeros_like(p) for name, p in params.items()}
    for name, p in params.items():
        for i in range(p.numel()):
            shift = torch.zeros_like(p)
            shift.view(-1)[i] = eps
            rise = function({**params, name: p + shift}) - function({**params, name: p - shift})
            gradient[name].view(-1)[i] = float(rise) / (2 * eps)
    return gradient


def mean_direction(algorithm, meta, episodes):
    """The mean of the directions of the tasks, one after another, without an engine."""
    tasks = [task_at(episodes, i) for i in range(len(episodes.classes))]
    directions = [algorithm.task_direction(meta, task)[0] for task in tasks]
    return {name: sum(direction[name] for direction in directions) / len(directions) for name in meta}
