"""What Reptile's inner optimiser remembers goes from task to task, as in the authors' code."""

from dataclasses import replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.inner_loop import descend, last
from metabench.algorithms.reptile import Reptile, minibatches
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Task


def problem(inner_optimizer="rmsprop"):
    learner = Learner(MLP(2, 1, 6, 1), "regression")
    algorithm = ALGORITHMS.get("reptile")(learner, 0.01, 3, inner_optimizer=inner_optimizer)
    meta = {name: p.double() for name, p in algorithm.init(torch.Generator().manual_seed(0)).items()}
    generator = torch.Generator().manual_seed(1)

    def batch():
        return Batch(*(torch.randn(4, n, generator=generator).double() for n in (2, 1)))

    return algorithm, meta, [Task(batch(), batch(), torch.zeros(1, dtype=torch.int64)) for _ in range(5)]


def network(algorithm, meta):
    return {name: meta[name] for name in algorithm.learner.model.init(torch.Generator())}


def test_at_an_outer_rate_of_one_it_is_one_run_of_torchs_optimiser_through_all_tasks():
    algorithm, meta, tasks = problem()
    leaves = {name: p.clone().requires_grad_() for name, p in network(algorithm, meta).items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=0.01, betas=(0.0, 0.999))
    for task in tasks:
        direction, _ = algorithm.task_direction(meta, task)
        meta = {name: p - direction[name] for name, p in meta.items()}
        for batch in minibatches(task, 3):
            optimizer.zero_grad()
            algorithm.learner.loss(leaves, batch).backward()
            optimizer.step()
    for name, leaf in leaves.items():
        torch.testing.assert_close(meta[name], leaf.detach(), rtol=1e-4, atol=1e-6)


def test_testing_goes_on_from_what_training_remembered():
    """A fresh optimiser moves every weight by the whole rate in its first step; one that remembers does not."""
    algorithm, meta, tasks = problem()
    trained = dict(meta)
    for task in tasks:
        direction, _ = algorithm.task_direction(trained, task)
        trained = {name: p - direction[name] for name, p in trained.items()}
    forgetful = trained | {name: meta[name] for name in meta if name not in network(algorithm, meta)}
    moved = {}
    for which, start in (("trained", trained), ("forgetful", forgetful)):
        before, after, *_ = algorithm.trajectory(start, tasks[0].support)
        moved[which] = torch.cat([(after[name] - before[name]).abs().flatten() for name in network(algorithm, meta)])
    turned = moved["forgetful"] > 0
    assert torch.allclose(moved["forgetful"][turned], torch.tensor(0.01).double(), rtol=1e-3)
    assert moved["trained"][turned].std() > 1e-3


def test_only_an_optimiser_with_a_memory_has_meta_parameters_of_its_own():
    for optimizer in ("sgd", "momentum", "adam"):
        algorithm, meta, _ = problem(optimizer)
        assert meta.keys() == network(algorithm, meta).keys()
    algorithm, meta, _ = problem()
    names = network(algorithm, meta).keys()
    assert meta.keys() == {*names, *(f"square.{name}" for name in names), "weight.square"}
    assert all(p.min() > 0 for name, p in meta.items() if name not in names)


def test_it_reports_the_loss_of_its_last_minibatch_and_asks_for_no_other():
    algorithm, meta, tasks = problem("sgd")
    asked = []

    class Counting(Learner):
        def loss(self, params, batch):
            asked.append(batch)
            return super().loss(params, batch)

    learner = Counting(algorithm.learner.model, "regression")
    for steps in (1, 2, 3):
        asked.clear()
        counted = replace(algorithm, learner=learner, inner_steps=steps)
        _, metrics = counted.task_direction(meta, tasks[0])
        *before, final = minibatches(tasks[0], steps)
        assert len(asked) == steps
        there = last(descend(algorithm, algorithm.learner.loss, meta, before))
        torch.testing.assert_close(metrics["loss"], algorithm.learner.loss(there, final))


def test_the_published_trainings_have_minibatches_of_ten_images():
    """Of 75 images in seven minibatches and a half; the eighth begins the second pass."""
    preset = Reptile.presets["published/miniimagenet-5way"]
    images = torch.arange(75)
    shot_major = [Batch(part[:, None], part % 5) for part in images.split([5 * preset.train_shots, 5 * preset.query])]
    found = list(minibatches(Task(*shot_major, torch.arange(5)), preset.inner_steps))
    assert [batch.x.flatten().tolist() for batch in found[:7]] == images[:70].view(7, 10).tolist()
    assert found[7].x.flatten().tolist() == [*range(70, 75), *range(5)]
    assert all(batch.y.bincount().tolist() == [2] * 5 for batch in found)


def test_without_an_inner_step_there_is_nothing_to_learn():
    algorithm, meta, tasks = problem()
    with pytest.raises(Unsupported, match="at least one inner step"):
        replace(algorithm, inner_steps=0).task_direction(meta, tasks[0])
