"""The inner optimisers are torch's, and can be differentiated through."""

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.inner_loop import descend, last
from metabench.algorithms.inner_optimizers import INNER_OPTIMIZERS
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.engines.base import ENGINES
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task

TORCHS = {
    "sgd": lambda leaves: torch.optim.SGD(leaves, lr=0.05),
    "momentum": lambda leaves: torch.optim.SGD(leaves, lr=0.05, momentum=0.9),
    # ε = 0: ours stands inside the root, where it is nothing to gradients of this size
    "adam": lambda leaves: torch.optim.Adam(leaves, lr=0.05, eps=0),
    "rmsprop": lambda leaves: torch.optim.Adam(leaves, lr=0.05, betas=(0.0, 0.999), eps=0),
}


def maml(**options):
    return ALGORITHMS.get("maml")(Learner(MLP(2, 1, 4, 1), "regression"), 0.05, 4, **options)


def smooth(params, batch):
    """A loss without kinks, with no gradient near zero."""
    hidden = torch.tanh(batch.x @ params["w"] + params["b"])
    return ((hidden @ params["v"] - batch.y) ** 2).mean()


def problem():
    generator = torch.Generator().manual_seed(0)
    params = {
        name: torch.randn(shape, generator=generator).double() for name, shape in (("w", (2, 3)), ("b", 3), ("v", 3))
    }
    batches = [
        Batch(torch.randn(7, 2, generator=generator).double(), torch.randn(7, generator=generator).double())
        for _ in range(4)
    ]
    return params, batches


@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=["tape", "functional"])
@pytest.mark.parametrize("name", INNER_OPTIMIZERS)
def test_steps_are_those_of_torchs_optimisers(name, autodiff):
    params, batches = problem()
    leaves = {key: p.clone().requires_grad_() for key, p in params.items()}
    optimizer = TORCHS[name](list(leaves.values()))
    points = list(descend(maml(inner_optimizer=name, autodiff=autodiff), smooth, params, batches))
    assert len(points) == 5
    for i, batch in enumerate([*batches, None]):
        for key in params:
            torch.testing.assert_close(points[i][key], leaves[key].detach(), rtol=1e-9, atol=1e-11)
        if batch:
            optimizer.zero_grad()
            smooth(leaves, batch).backward()
            assert name in ("sgd", "momentum") or all(leaf.grad.abs().min() > 1e-3 for leaf in leaves.values())
            optimizer.step()


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("name", INNER_OPTIMIZERS)
def test_the_derivative_through_the_steps_is_that_of_finite_differences(name, checkpoint):
    params, batches = problem()
    algorithm = maml(inner_optimizer=name, autodiff=TAPE, checkpoint=checkpoint)

    def outcome(*leaves):
        adapted = last(descend(algorithm, smooth, dict(zip(params, leaves, strict=True)), batches[:3]))
        return smooth(adapted, batches[3])

    assert torch.autograd.gradcheck(outcome, [p.requires_grad_() for p in params.values()], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_gradient_of_exactly_zero_does_not_spoil_the_derivative(name, engine):
    """Of a dead unit: √v at v = 0 has no finite derivative unless ε stands inside the root."""
    algorithm = maml(inner_optimizer=name)
    generator = torch.Generator().manual_seed(0)
    meta = {key: p.double() for key, p in algorithm.init(generator).items()}
    meta["hidden1.bias"][1] = -100.0
    x, y = (torch.randn(2, 3, 6, n, generator=generator).double() for n in (2, 1))
    episodes = Task(Batch(x[0], y[0]), Batch(x[1], y[1]), torch.zeros(3, 1, dtype=torch.int64))
    direction, metrics = ENGINES.get(engine).build(algorithm)(meta, episodes)
    assert torch.isfinite(metrics["loss"])
    assert all(torch.isfinite(d).all() for d in direction.values())
    assert float(direction["hidden1.weight"][1].abs().max()) == float(direction["hidden1.bias"][1]) == 0.0
    assert float(direction["hidden1.weight"].abs().max()) > 1e-3


def test_each_step_has_its_rates_and_the_transform_comes_before_the_optimiser():
    """p ← p - rate · U(2 ∇(a p²/2)), with momentum: by hand."""

    def loss(params, a):
        return (a * params["p"] ** 2 / 2).sum()

    rates = [{"p": torch.tensor([0.1, 0.0], dtype=torch.float64)}, 0.5]
    points = list(
        descend(
            maml(inner_optimizer="momentum"),
            loss,
            {"p": torch.tensor([1.0, 2.0], dtype=torch.float64)},
            [1.0, 3.0],
            rates,
            lambda gradient, a: {name: 2 * g for name, g in gradient.items()},
        )
    )
    # gradients (2, 4), then 6 p = (4.8, 12); velocities (2, 4), then (6.6, 15.6)
    expected = [[1.0, 2.0], [0.8, 2.0], [0.8 - 3.3, 2.0 - 7.8]]
    assert [point["p"].tolist() for point in points] == [pytest.approx(e, rel=1e-12) for e in expected]
