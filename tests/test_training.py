import math

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.engines.base import ENGINES
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import task_at
from metabench.training import Diverged, MetaOptimizer, Outer, evaluate, train

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)


def algorithm(name="maml", steps=1):
    return ALGORITHMS.get(name)(Learner(MLP(1, 1, 40, 2), "regression"), 0.01, steps)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_descent_goes_against_the_direction():
    meta = {"a": torch.tensor([1.0, 2.0])}
    MetaOptimizer(meta, Outer("sgd", 0.5, "none", 10)).update({"a": torch.tensor([1.0, -1.0])})
    assert meta["a"].tolist() == [0.5, 2.5]


def test_adam_is_adam():
    meta = {"a": torch.tensor([1.0])}
    optimizer = MetaOptimizer(meta, Outer("adam", 0.1, "none", 10))
    expected, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate([0.5, -0.2, 0.7], start=1):
        optimizer.update({"a": torch.tensor([g])})
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert float(meta["a"]) == pytest.approx(expected, rel=1e-5)


def test_linear_decay_reaches_zero_at_the_last_iteration():
    meta = {"a": torch.tensor([0.0])}
    optimizer = MetaOptimizer(meta, Outer("sgd", 1.0, "linear", 4))
    steps = []
    for _ in range(5):
        before = float(meta["a"])
        optimizer.update({"a": torch.tensor([-1.0])})
        steps.append(float(meta["a"]) - before)
    assert steps == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def run(iterations, seed=0):
    made = algorithm()
    draw = generator(seed)
    return train(
        lambda progress: ENGINES.get("vmap").build(made),
        MetaOptimizer(made.init(generator()), Outer("adam", 1e-3, "none", iterations)),
        lambda: SINUSOID.sample("train", 4, draw),
        iterations,
        lambda meta: float(evaluate(made, meta, SINUSOID, "validation", 20, 1, generator(9))[:, -1].mean()),
        curve_points=4,
    )


def test_training_lowers_the_error_and_keeps_a_curve():
    trained = run(200)
    assert [point.iteration for point in trained.curve] == [0, 50, 100, 150, 200]
    assert [p.seconds for p in trained.curve] == sorted(p.seconds for p in trained.curve)
    assert trained.seconds == trained.curve[-1].seconds
    assert trained.curve[-1].value < 0.9 * trained.curve[0].value


def test_same_seed_same_bits():
    one, two, other = run(20), run(20), run(20, seed=1)
    assert all(torch.equal(one.meta[name], two.meta[name]) for name in one.meta)
    assert not torch.equal(one.meta["head.weight"], other.meta["head.weight"])


def test_a_loss_that_is_not_finite_ends_training():
    made = algorithm()

    def step(meta, episodes):
        direction, _ = ENGINES.get("vmap").build(made)(meta, episodes)
        return direction, {"loss": torch.tensor(float("nan"))}

    with pytest.raises(Diverged, match="by iteration 5"):
        train(
            lambda progress: step,
            MetaOptimizer(made.init(generator()), Outer("adam", 1e-3, "none", 20)),
            lambda: SINUSOID.sample("train", 2, generator()),
            20,
            lambda meta: 0.0,
            curve_points=4,
        )


@pytest.mark.parametrize("name", ["maml", "reptile", "anil"])
def test_evaluation_scores_every_task_after_every_step(name):
    made = algorithm(name)
    meta = made.init(generator(2))
    scores = evaluate(made, meta, SINUSOID, "test", 70, 3, generator(5))
    assert scores.shape == (70, 4)
    # the first 50 tasks are drawn in one chunk, and scored one by one
    episodes = SINUSOID.sample("test", 50, generator(5))
    task = task_at(episodes, 7)
    trajectory = list(algorithm(name, steps=3).trajectory(meta, task.support))
    expected = [
        float((made.learner.predict(point, task.query.x) - task.query.y).square().mean()) for point in trajectory
    ]
    assert scores[7].tolist() == pytest.approx(expected, rel=1e-5)


def test_accuracy_is_the_share_of_right_classes():
    learner = Learner(MLP(2, 3, 4, 1), "classification")
    params = learner.model.init(generator())
    x = torch.randn(8, 2)
    outputs = learner.predict(params, x)
    y = outputs.argmax(-1)
    y[:2] = (y[:2] + 1) % 3
    assert float(learner.score_of(outputs, y)) == 0.75
