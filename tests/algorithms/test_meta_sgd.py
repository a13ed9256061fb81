import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.correctness.differences import definition_error
from metabench.correctness.gate import relative_error
from metabench.engines import loop, vmap
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task, task_at
from problems import SMOOTH, differences, mean_direction, points

LR = 0.1


def build(name="meta-sgd", steps=2, autodiff=TAPE, **options):
    return ALGORITHMS.get(name)(SMOOTH, LR, steps, autodiff, **options)


def problem():
    """Meta-parameters off their initial values, rates that all differ, and an episode batch, in float64."""
    generator = torch.Generator().manual_seed(0)
    meta = {
        name: torch.rand(p.shape, generator=generator).double() * 0.2
        if name.startswith("rate.")
        else torch.randn(p.shape, generator=generator).double()
        for name, p in build().init(generator).items()
    }
    return meta, points()


def test_each_number_steps_at_its_own_rate():
    meta, episodes = problem()
    task = task_at(episodes, 0)
    theta = {name: p for name, p in meta.items() if not name.startswith("rate.")}
    for _ in range(2):
        gradient = differences(lambda p: SMOOTH.loss(p, task.support), theta)
        theta = {name: p - meta[f"rate.{name}"] * gradient[name] for name, p in theta.items()}
    adapted = build().adapt(meta, task.support)
    assert relative_error({name: adapted[name] for name in theta}, theta) < 1e-8


def test_a_worked_example():
    """One weight w = 2, x = 1, y = 0, rate a = 0.25: L = w², w' = w(1 - 2a) = 1; dL(w')/dw = 1, dL(w')/da = -8."""

    class Linear(MLP):
        def features(self, params, x):
            return x

    learner = Learner(Linear(inputs=1, outputs=1, width=1, layers=0), "regression")
    meta = {
        "head.weight": torch.tensor([[2.0]]),
        "head.bias": torch.tensor([0.0]),
        "rate.head.weight": torch.tensor([[0.25]]),
        "rate.head.bias": torch.tensor([0.0]),
    }
    batch = Batch(torch.ones(1, 1), torch.zeros(1, 1))
    task = Task(batch, batch, torch.zeros(1, dtype=torch.int64))
    direction, metrics = ALGORITHMS.get("meta-sgd")(learner, LR, 1, TAPE).task_direction(meta, task)
    assert float(metrics["loss"]) == pytest.approx(1.0)
    # d/dw of w'² = 2 w' (1 - 2a); d/da = 2 w' (-2 w)
    assert float(direction["head.weight"]) == pytest.approx(1.0)
    assert float(direction["rate.head.weight"]) == pytest.approx(-8.0)


@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"inner_optimizer": "adam"}], ids=str)
def test_the_direction_is_the_gradient_of_the_definition(autodiff, options):
    meta, episodes = problem()
    algorithm = build(autodiff=autodiff, **options)
    mean = mean_direction(algorithm, meta, episodes)
    assert definition_error(algorithm, meta, episodes, mean, torch.Generator().manual_seed(1)) < 1e-7
    assert min(mean[name].abs().max() for name in meta) > 1e-4  # every rate is learned


def test_engines_agree():
    meta, episodes = problem()
    direction, _ = vmap.build(build())(meta, episodes)
    assert relative_error(direction, loop.build(build())(meta, episodes)[0]) < 1e-12


def test_checkpointing_changes_nothing():
    meta, episodes = problem()
    direction, _ = loop.build(build(checkpoint=True))(meta, episodes)
    assert relative_error(direction, loop.build(build())(meta, episodes)[0]) < 1e-14


def test_fresh_it_is_maml():
    _, episodes = problem()
    meta = {name: p.double() for name, p in build().init(torch.Generator().manual_seed(3)).items()}
    theta = {name: p.double() for name, p in SMOOTH.model.init(torch.Generator().manual_seed(3)).items()}
    meta = meta | {name: torch.full_like(p, LR) for name, p in meta.items() if name.startswith("rate.")}  # unrounded
    expected, _ = loop.build(build("maml"))(theta, episodes)
    direction, _ = loop.build(build())(meta, episodes)
    assert relative_error({name: direction[name] for name in theta}, expected) < 1e-14
    assert all(torch.equal(meta[name], theta[name]) for name in theta)


def test_init_gives_every_parameter_rates_of_its_shape():
    meta = build().init(torch.Generator())
    theta = SMOOTH.model.init(torch.Generator())
    assert meta.keys() == theta.keys() | {f"rate.{name}" for name in theta}
    assert all(torch.equal(meta[f"rate.{name}"], torch.full(p.shape, LR)) for name, p in theta.items())


def test_the_inner_loop_leaves_the_rates():
    meta, episodes = problem()
    algorithm = build()
    adapted = algorithm.adapt(meta, task_at(episodes, 0).support)
    moved = {name for name in meta if not torch.equal(adapted[name], meta[name])}
    assert moved == algorithm.adapted_names(meta) == {"hidden1.weight", "hidden1.bias", "head.weight", "head.bias"}


def test_a_rate_of_zero_freezes_its_parameter():
    meta, episodes = problem()
    meta["rate.head.bias"] = torch.zeros(1, dtype=torch.float64)
    adapted = build().adapt(meta, task_at(episodes, 0).support)
    assert torch.equal(adapted["head.bias"], meta["head.bias"])
    assert not torch.equal(adapted["head.weight"], meta["head.weight"])


def test_published_presets_take_one_step():
    presets = ALGORITHMS.get("meta-sgd").presets
    assert {p.inner_steps for key, p in presets.items() if key.startswith("published/")} == {1}
    assert (presets["published/sinusoid"].meta_batch, presets["published/sinusoid"].iterations) == (4, 60_000)
