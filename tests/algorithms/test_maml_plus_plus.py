from dataclasses import replace

import pytest
import torch
from torch import nn

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.algorithms.presets import most_specific
from metabench.autodiff import FUNCTIONAL, TAPE
from metabench.correctness.differences import definition_error
from metabench.correctness.gate import relative_error
from metabench.engines import loop, vmap
from metabench.errors import Unsupported
from metabench.models.conv4 import Conv4
from metabench.models.module import from_module
from metabench.tensors import Batch, Task, task_at
from problems import BOTH, CONV, SMOOTH, Smooth, differences, images, mean_direction, perturbed, points

LR = 0.1


def build(name="maml++", steps=3, autodiff=TAPE, learner=SMOOTH, **options):
    return ALGORITHMS.get(name)(learner, LR, steps, autodiff, **options)


def hand_points(learner, meta, support, steps, learned):
    """The parameters of the model after each step, written out with central differences."""
    own = [name for name in meta if not name.startswith(("rate.", "step"))]
    norms = [name for name in own if name.startswith("norm")]
    params = {name: meta[name] for name in own}
    yield params
    for step in range(steps):
        fast = {name: params[name] for name in own if name not in norms}
        gradient = differences(lambda p, at=params: learner.loss({**at, **p}, support), fast)
        rate = min(step, learned - 1)
        after = min(step + 1, learned)
        params = {name: p - meta[f"rate.{name}"][rate] * gradient[name] for name, p in fast.items()}
        params |= {name: meta[f"step{after}.{name}"] for name in norms}
        yield params


@BOTH
@pytest.mark.parametrize("steps", [1, 2, 4], ids=lambda steps: f"{steps}-of-2-learned")
def test_every_step_has_its_own_rates_and_norm_weights(learner, episodes, steps):
    algorithm = build(steps=2, learner=learner)
    meta, task = perturbed(algorithm), task_at(episodes, 0)
    expected = list(hand_points(learner, meta, task.support, steps, learned=2))
    actual = list(replace(algorithm, inner_steps=steps).trajectory(meta, task.support))
    assert len(actual) == steps + 1
    for point, truth in zip(actual, expected, strict=True):
        assert point.keys() == meta.keys()
        assert relative_error({name: point[name] for name in truth}, truth) < 1e-6
        outputs = algorithm.predict(point, task.query.x)
        torch.testing.assert_close(outputs, learner.predict(truth, task.query.x), rtol=1e-4, atol=1e-5)


@BOTH
def test_the_multi_step_loss_weighs_the_query_loss_after_each_step(learner, episodes):
    algorithm = build(learner=learner, multi_step=0.6)
    meta, task = perturbed(algorithm), task_at(episodes, 0)
    after = [float(learner.loss(point, task.query)) for point in algorithm.trajectory(meta, task.support)]
    # three steps: a third of 0.6 on each of the first two, what remains of 1 on the last
    expected = 0.2 * after[1] + 0.2 * after[2] + 0.6 * after[3]
    assert float(algorithm.objective(meta, meta, task)) == pytest.approx(expected, rel=1e-12)
    alone = replace(algorithm, multi_step=0.0)
    assert float(alone.objective(meta, meta, task)) == pytest.approx(after[3], rel=1e-12)


def test_the_loss_moves_to_the_last_step_over_the_first_tenth_of_the_training():
    algorithm = build(steps=5)
    start, epoch_5, epoch_10 = (algorithm.at(epoch / 100).step_weights() for epoch in (0, 5, 10))
    assert start == pytest.approx([0.2] * 5)
    assert epoch_5 == pytest.approx([0.1] * 4 + [0.6])
    assert epoch_10 == [0.0] * 4 + [1.0]
    assert len({algorithm.at(i / 100) for i in range(100)}) == 11
    assert algorithm.at(0.5) == algorithm == build(steps=5)


@pytest.mark.parametrize("epoch", range(10))
def test_the_weights_of_each_epoch_are_those_of_the_authors_code(epoch):
    """100 epochs, the first 10 of which have the multi-step loss. No weight is less than 0.03 / K."""
    steps = 5
    fall = 1 / steps / 10
    others = max(1 / steps - epoch * fall, 0.03 / steps)
    final = min(1 / steps + epoch * (steps - 1) * fall, 1 - (steps - 1) * 0.03 / steps)
    assert build(steps=steps).at(epoch / 100).step_weights() == pytest.approx([others] * (steps - 1) + [final])


def test_the_last_step_alone_needs_one_query_pass():
    class Counting(Smooth):
        def features(self, params, x):
            seen.append(len(x))
            return super().features(params, x)

    learner = Learner(Counting(inputs=2, outputs=1, width=3, layers=1), "regression")
    support, query = Batch(torch.randn(4, 2), torch.randn(4, 1)), Batch(torch.randn(7, 2), torch.randn(7, 1))
    task = Task(support, query, torch.zeros(1, dtype=torch.int64))
    algorithm = build(learner=learner)
    meta = algorithm.init(torch.Generator())
    for multi_step, passes in ((0.0, 1), (0.5, 3)):
        seen = []
        replace(algorithm, multi_step=multi_step).task_direction(meta, task)
        assert (seen.count(4), seen.count(7)) == (3, passes)


@pytest.mark.parametrize("autodiff", [TAPE, FUNCTIONAL], ids=lambda autodiff: autodiff.name)
@pytest.mark.parametrize("multi_step", [0.0, 0.6])
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"inner_optimizer": "adam"}], ids=str)
def test_the_direction_is_the_gradient_of_the_definition(autodiff, multi_step, options):
    algorithm = build(autodiff=autodiff, multi_step=multi_step, **options)
    meta, episodes = perturbed(algorithm), points()
    mean = mean_direction(algorithm, meta, episodes)
    assert definition_error(algorithm, meta, episodes, mean, torch.Generator().manual_seed(1)) < 1e-7
    assert min(mean[name].abs().min() for name in meta if name.startswith("rate.")) > 1e-6  # of every step


def test_the_norm_weights_of_every_step_are_learned():
    algorithm = build(learner=CONV)
    direction, _ = loop.build(algorithm)(perturbed(algorithm), images())
    norms = {name: d for name, d in direction.items() if "norm" in name}
    assert len(norms) == 4 * 2 * 4  # before the first step and after each of three
    assert min(d.abs().max() for d in norms.values()) > 1e-6


@BOTH
@pytest.mark.parametrize("multi_step", [0.0, 0.6])
def test_engines_agree(learner, episodes, multi_step):
    algorithm = build(learner=learner, multi_step=multi_step)
    meta = perturbed(algorithm)
    expected, _ = loop.build(algorithm)(meta, episodes)
    assert relative_error(vmap.build(algorithm)(meta, episodes)[0], expected) < 1e-10
    assert relative_error(loop.build(replace(algorithm, checkpoint=True))(meta, episodes)[0], expected) < 1e-12


def test_without_batch_norm_and_with_the_last_step_alone_it_starts_as_maml():
    algorithm, episodes = build(), points()
    meta = {name: p.double() for name, p in algorithm.init(torch.Generator().manual_seed(3)).items()}
    meta |= {name: torch.full_like(p, LR) for name, p in meta.items() if name.startswith("rate.")}  # unrounded
    theta = {name: p.double() for name, p in SMOOTH.model.init(torch.Generator().manual_seed(3)).items()}
    assert all(torch.equal(meta[name], theta[name]) for name in theta)
    expected, _ = loop.build(build("maml"))(theta, episodes)
    direction, _ = loop.build(algorithm)(meta, episodes)
    assert relative_error({name: direction[name] for name in theta}, expected) < 1e-14


@BOTH
def test_without_inner_steps_the_objective_is_the_query_loss(learner, episodes):
    algorithm = build(steps=0, learner=learner).at(0.0)
    meta, task = perturbed(algorithm), task_at(episodes, 0)
    assert all(torch.equal(p, meta[name]) for name, p in algorithm.adapt(meta, task.support).items())
    loss = float(learner.loss(meta, task.query))
    assert float(algorithm.objective(meta, meta, task)) == pytest.approx(loss, rel=1e-12)
    # an evaluation may take steps that training did not
    adapted = replace(algorithm, inner_steps=2).adapt(meta, task.support)
    assert not torch.equal(adapted["head.weight"], meta["head.weight"])


def test_init_has_rates_by_step_and_norm_weights_by_step():
    algorithm = build(steps=2, learner=CONV)
    meta, theta = algorithm.init(torch.Generator()), CONV.model.init(torch.Generator())
    norms = {f"norm{i}.{part}" for i in range(1, 5) for part in ("weight", "bias")}
    rates = {f"rate.{name}" for name in theta.keys() - norms}
    assert meta.keys() == theta.keys() | rates | {f"step{i}.{name}" for i in (1, 2) for name in norms}
    assert all(torch.equal(meta[name], torch.full((2,), LR)) for name in rates)
    assert all(torch.equal(meta[f"step2.{name}"], theta[name]) for name in norms)
    assert len({p.data_ptr() for p in meta.values()}) == len(meta)  # the outer optimiser writes into each
    assert meta.keys() == algorithm.at(0.0).init(torch.Generator()).keys()


def test_the_inner_loop_moves_all_but_batch_norm_and_what_is_learned_besides():
    algorithm = build(learner=CONV)
    meta = algorithm.init(torch.Generator().manual_seed(0))
    support = Batch(task_at(images(), 0).support.x.float(), task_at(images(), 0).support.y)
    adapted = algorithm.adapt(meta, support)
    moved = {name for name in meta if not torch.equal(adapted[name], meta[name])}
    assert moved == algorithm.adapted_names(meta) == {f"conv{i}.weight" for i in range(1, 5)} | CONV.model.head_names


class Named(nn.Module):
    """A network whose batch norm is not called so, and whose convolution nearly is."""

    def __init__(self, outputs):
        super().__init__()
        self.normal_conv, self.bn1 = nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, outputs)

    def forward(self, x):
        return self.fc(self.bn1(self.normal_conv(x)).relu().mean((2, 3)))


def test_batch_norm_is_what_the_network_says():
    algorithm = build(steps=2, learner=Learner(from_module(Named)((1, 16, 16), 3), "classification"))
    meta = algorithm.init(torch.Generator().manual_seed(0))
    convolution, norms = {"normal_conv.weight", "normal_conv.bias"}, {"bn1.weight", "bn1.bias"}
    assert algorithm.adapted_names(meta) == convolution | {"fc.weight", "fc.bias"}
    assert {name for name in meta if name.startswith("step")} == {f"step{i}.{name}" for i in (1, 2) for name in norms}


def test_a_network_that_does_not_say_what_its_batch_norm_is_is_refused():
    class Silent(Conv4):
        @property
        def norm_names(self):
            raise AttributeError

    silent = Silent((1, 16, 16), 3, 2, max_pool=False, normalise=True)
    with pytest.raises(Unsupported, match="give it norm_names"):
        build(learner=Learner(silent, "classification"))
    build(learner=Learner(replace(silent, normalise=False), "classification"))  # it has none


def test_the_published_presets_are_those_of_the_authors_code():
    preset = most_specific(ALGORITHMS.get("maml++").presets, "published", "omniglot", 20, 5)
    assert (preset.eval_query, preset.rotation, preset.eval_rotation) == (1, "random", "none")
    assert (preset.model, preset.inner_lr, preset.inner_steps, preset.eval_steps) == ("conv4-64-maxpool", 0.1, 5, 5)
    assert (preset.meta_batch, preset.query, preset.iterations, preset.outer_decay) == (8, 1, 50_000, "cosine")
