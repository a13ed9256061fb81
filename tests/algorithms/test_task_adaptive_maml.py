from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.tensors import Batch, Task, flat
from problems import Smooth, perturbed

LR = 0.1


@pytest.fixture(params=[TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
def autodiff(request):
    return request.param


@pytest.fixture(params=["regression", "classification"])
def learner(request):
    return Learner(Smooth(inputs=2, outputs=2, width=3, layers=1), request.param)


def build(learner, autodiff, name="task-adaptive-maml", steps=2, **fields):
    return ALGORITHMS.get(name)(learner, LR, steps, autodiff, **fields)


def fresh(learner):
    return {name: p.double() for name, p in build(learner, TAPE).init(torch.Generator().manual_seed(0)).items()}


def shaken(learner):
    """Meta-parameters off their initial values, at which the rates do not depend on the task yet."""
    return perturbed(build(learner, TAPE), 0.3)


def problem(learner, seed=2):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 6, 2, generator=generator).double(), torch.randn(2, 6, 2, generator=generator).double()
    if learner.kind == "classification":
        y = torch.arange(2).repeat(2, 3)
    return Task(Batch(x[0], y[0]), Batch(x[1], y[1]), torch.zeros(2, dtype=torch.int64))


def hand_rates(learner, meta, support):
    """The rates written out example by example."""
    features = [torch.tanh(meta["hidden1.weight"] @ x + meta["hidden1.bias"]) for x in support.x]
    embedding = sum(features) / len(features)
    if learner.kind == "regression":
        products = [torch.outer(f, y).reshape(-1) for f, y in zip(features, support.y, strict=True)]
        embedding = torch.cat([embedding, sum(products) / len(products)])
    hidden = torch.tanh(meta["rates.hidden.weight"] @ embedding + meta["rates.hidden.bias"])
    outputs = meta["rates.output.weight"] @ hidden + meta["rates.output.bias"]
    names = ["head.bias", "head.weight", "hidden1.bias", "hidden1.weight"]
    return {name: meta[f"rate.{name}"] * 2 / (1 + torch.exp(-z)) for name, z in zip(names, outputs, strict=True)}


def hand_query_loss(learner, meta, task, steps=2):
    rates = hand_rates(learner, meta, task.support)
    params = {name: meta[name] for name in rates}
    for _ in range(steps):
        loss = learner.loss(params, task.support)
        gradients = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {name: p - rates[name] * g for (name, p), g in zip(params.items(), gradients, strict=True)}
    return learner.loss(params, task.query)


def test_direction_is_the_gradient_through_rates_and_inner_loop(learner, autodiff):
    meta, task = shaken(learner), problem(learner)
    leaves = {name: p.clone().requires_grad_() for name, p in meta.items()}
    loss = hand_query_loss(learner, leaves, task)
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    direction, metrics = build(learner, autodiff).task_direction(meta, task)
    torch.testing.assert_close(direction, expected)
    assert float(metrics["loss"]) == pytest.approx(loss.item())
    assert all(p.abs().max() > 0 for p in direction.values())


def test_rates_are_those_written_out_and_differ_between_tasks(learner, autodiff):
    meta = shaken(learner)
    one, other = (build(learner, autodiff).rates(meta, problem(learner, seed).support) for seed in (2, 3))
    torch.testing.assert_close(one, hand_rates(learner, meta, problem(learner, 2).support))
    assert all((one[name] - other[name]).abs() > 1e-5 for name in one)


def test_rates_in_regression_depend_on_the_targets(autodiff):
    learner = Learner(Smooth(inputs=2, outputs=2, width=3, layers=1), "regression")
    meta, (x, y) = shaken(learner), problem(learner).support
    algorithm = build(learner, autodiff)
    one, other = algorithm.rates(meta, Batch(x, y)), algorithm.rates(meta, Batch(x, -y))
    assert all((one[name] - other[name]).abs() > 1e-5 for name in one)


def test_it_starts_as_maml(learner, autodiff):
    meta, task = fresh(learner), problem(learner)
    own = learner.model.init(torch.Generator().manual_seed(0))
    assert all(torch.equal(meta[name], p.double()) for name, p in own.items())
    meta |= {name: torch.full_like(p, LR) for name, p in meta.items() if name.startswith("rate.")}  # not as a float32
    direction, metrics = build(learner, autodiff).task_direction(meta, task)
    maml, maml_metrics = build(learner, autodiff, "maml").task_direction({name: meta[name] for name in own}, task)
    torch.testing.assert_close({name: direction[name] for name in own}, maml)
    torch.testing.assert_close(metrics, maml_metrics)
    # The last layer is the first to learn.
    assert direction["rates.output.weight"].abs().max() > 0
    assert direction["rates.hidden.weight"].abs().max() == 0


def test_the_model_alone_is_adapted(learner, autodiff):
    meta, task = shaken(learner), problem(learner)
    algorithm = build(learner, autodiff)
    own = learner.model.init(torch.Generator().manual_seed(0)).keys()
    adapted = algorithm.adapt(meta, task.support)
    assert algorithm.adapted_names(meta) == own
    assert {name for name in meta if torch.equal(adapted[name], meta[name])} == meta.keys() - own
    assert algorithm.effective(adapted | {"norm1.mean": adapted["head.bias"]}).keys() == own | {"norm1.mean"}


def test_rates_learn_in_first_order_too(learner, autodiff):
    meta, task = shaken(learner), problem(learner)
    second, _ = build(learner, autodiff).task_direction(meta, task)
    first, _ = replace(build(learner, autodiff), first_order=True).task_direction(meta, task)
    assert all(first[name].abs().max() > 0 for name in meta)
    assert (flat(first) - flat(second)).norm() > 1e-2 * flat(second).norm()


def test_checkpointing_changes_no_number(learner):
    meta, task = shaken(learner), problem(learner)
    kept, _ = build(learner, TAPE).task_direction(meta, task)
    computed_again, _ = build(learner, TAPE, checkpoint=True).task_direction(meta, task)
    torch.testing.assert_close(computed_again, kept)
