import math

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import relative_error
from metabench.engines.base import ENGINES, Stepwise
from metabench.engines.outer import Outer
from metabench.errors import Diverged
from metabench.evaluation import evaluate
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.training import train

SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 10, 10), None)


def algorithm(name="maml", steps=1):
    return ALGORITHMS.get(name)(Learner(MLP(1, 1, 40, 2), "regression"), 0.01, steps)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def run(iterations, seed=0, curve_points=4):
    made = algorithm()
    draw = generator(seed)
    return train(
        Stepwise(ENGINES.get("vmap").build(made), made.init(generator()), Outer("adam", 1e-3, "none", iterations)),
        lambda: SINUSOID.sample("train", 4, draw),
        iterations,
        lambda _, meta: float(evaluate(made, meta, SINUSOID, "validation", 20, 1, generator(9))[:, -1].mean()),
        curve_points,
    )


def test_training_lowers_the_error_and_keeps_a_curve():
    trained = run(200)
    assert [point.iteration for point in trained.curve] == [0, 50, 100, 150, 200]
    assert [p.seconds for p in trained.curve] == sorted(p.seconds for p in trained.curve)
    assert trained.seconds == trained.curve[-1].seconds
    assert trained.curve[-1].value < 0.9 * trained.curve[0].value


def test_same_seed_same_training():
    one, two, other = run(20), run(20), run(20, seed=1)
    assert relative_error(two.meta, one.meta) < 1e-5
    assert relative_error(other.meta, one.meta) > 1e-2


class Clock:
    """Stands in for the clock: each iteration takes two seconds, each evaluation a thousand."""

    def __init__(self, monkeypatch):
        self.now, self.seen = 0.0, []
        monkeypatch.setattr("metabench.training.time.perf_counter", lambda: self.now)

    def evaluate(self, done, meta):
        self.now += 1000
        self.seen.append(done)
        return 0.0

    def step(self, meta, episodes):
        self.now += 2
        return {"a": torch.zeros(1)}, {"loss": torch.tensor(1.5)}


@pytest.mark.parametrize("curve_points", [0, 1, 3, 7])
def test_the_seconds_are_those_of_all_iterations_however_many_points_the_curve_has(curve_points, monkeypatch):
    clock = Clock(monkeypatch)
    iteration = Stepwise(clock.step, {"a": torch.zeros(1)}, Outer("sgd", 0.0, "none", 7))
    trained = train(iteration, lambda: None, 7, clock.evaluate, curve_points)
    assert trained.seconds == 14.0
    assert [point.seconds for point in trained.curve] == [2.0 * point.iteration for point in trained.curve]
    assert clock.seen == [point.iteration for point in trained.curve]
    assert len(trained.curve) == 1 + curve_points and {point.loss for point in trained.curve[1:]} <= {1.5}


@pytest.mark.parametrize("curve_points", [0, 1, 3])
@pytest.mark.parametrize(("first", "found"), [(1, 10), (11, 20), (195, 200), (200, 200)])
def test_a_loss_that_is_not_finite_ends_training_at_the_next_look(first, found, curve_points):
    taken = []

    def step(meta, episodes):
        taken.append(None)
        return {"a": torch.zeros(1)}, {"loss": torch.tensor(math.nan if len(taken) >= first else 1.0)}

    iteration = Stepwise(step, {"a": torch.zeros(1)}, Outer("sgd", 0.0, "none", 200))
    with pytest.raises(Diverged, match=f"the training loss is nan by iteration {found}$"):
        train(iteration, lambda: None, 200, lambda done, meta: 0.0, curve_points)
    assert len(taken) == found


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(4, [0.0, 0.25, 0.5, 0.75]), (3, [0.0, 0.33, 0.66]), (250, [i / 100 for i in range(100)])],
)
def test_training_enters_each_stage_once(iterations, expected):
    entered, taken = [], []

    def step(meta, episodes):
        taken.append(entered[-1])
        return {"a": torch.zeros(1)}, {"loss": torch.tensor(0.0)}

    iteration = Stepwise(step, {"a": torch.zeros(1)}, Outer("sgd", 0.0, "none", iterations))

    def enter(iteration, progress):
        entered.append(progress)
        return iteration

    train(iteration, lambda: None, iterations, lambda done, meta: 0.0, curve_points=1, enter=enter)
    assert entered == expected
    assert taken == [math.floor(100 * i / iterations) / 100 for i in range(iterations)]
