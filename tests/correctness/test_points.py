"""Tasks on which something switches in single precision prove nothing, and are passed over."""

from dataclasses import dataclass, replace

import pytest
import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.points import DISTINCT, DRAWN, Points
from metabench.correctness.timed import TimedProof
from metabench.engines import loop
from metabench.engines.base import Stepwise
from metabench.engines.outer import Outer
from metabench.models.mlp import MLP
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tensors import task_at

MAML = ALGORITHMS.get("maml")
SINUSOID = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 5), None)
OUTER = Outer("adam", 1e-3, "none", 10)
ALWAYS = float("inf")


@dataclass(frozen=True)
class Switching(MAML):
    """MAML whose inner loop ends elsewhere by rounding, on tasks whose first point is right of zero."""

    below: float = ALWAYS
    """The norm of the first weights up to which it does so."""
    everywhere: bool = False

    def switches(self, meta, task):
        weights, first = next(iter(meta.values())), task.support.x.flatten()[0]
        if float(weights.norm()) > self.below:
            return False
        if weights.dtype == torch.float64:  # as it is, or shaken
            return self.everywhere and bool(first != first.float())
        return self.everywhere or bool(first > 0)

    def objective(self, meta, start, task):
        return super().objective(meta, start, task) * (1.001 if self.switches(meta, task) else 1.0)

    def task_direction(self, meta, task):
        direction, metrics = super().task_direction(meta, task)
        share = 1.3 if self.switches(meta, task) else 1.0
        return {name: share * p for name, p in direction.items()}, metrics


def made(**changes):
    return Switching(Learner(MLP(1, SINUSOID.outputs, 8, 2), SINUSOID.kind), 0.01, 2, **changes)


def initial(algorithm):
    return {name: p.float() for name, p in algorithm.init(torch.Generator().manual_seed(0)).items()}


def points_of(algorithm):
    return Points(algorithm, SINUSOID, initial(algorithm), "float32", lambda function: function, bool)


def switching(algorithm, point):
    tasks = [task_at(point.tasks, number) for number in range(DISTINCT)]
    return sum(algorithm.switches(point.meta, task) for task in tasks)


def size(point):
    return float(next(iter(point.meta.values())).norm())


@pytest.mark.parametrize("number", range(3))
def test_tasks_are_drawn_until_enough_are_steady(number):
    algorithm = made()
    point = points_of(algorithm)[number]
    assert switching(algorithm, point) == 0
    assert len(torch.unique(point.tasks.support.x.flatten(1), dim=0)) == DISTINCT


def test_larger_weights_are_tried_where_smaller_ones_are_not_steady():
    calm, wild = made(), made(everywhere=True, below=2 * size(points_of(made())[0]))
    found = points_of(wild)[0]
    assert switching(wild, found) == 0
    assert size(found) == pytest.approx(10 * size(points_of(calm)[0]))


def test_where_nothing_is_steady_the_first_tasks_are_taken_and_too_much_is_allowed():
    algorithm = made(everywhere=True)
    proof = TimedProof(algorithm, SINUSOID, OUTER, initial(algorithm), 25)
    assert proof.before(Stepwise(loop.build(algorithm), initial(algorithm), replace(OUTER, lr=0.0))) is None
    assert switching(algorithm, proof.points[0]) == DISTINCT
    assert size(proof.points[0]) == pytest.approx(size(points_of(made())[0]))
    assert proof.worst.allowed > 1


def test_processes_choose_the_same_tasks():
    algorithm, others = made(), iter([False, True] * DRAWN)
    found = Points(
        algorithm, SINUSOID, initial(algorithm), "float64", lambda function: function, lambda own: own and next(others)
    )[0]
    alone = points_of(algorithm)
    drawn = replace(alone, precision="float64")[0]
    assert torch.equal(task_at(found.tasks, 0).support.x, task_at(drawn.tasks, 1).support.x)


def test_a_wrong_direction_does_not_hide_where_something_switches():
    algorithm = made()

    def half_as_much_again(meta, episodes):
        direction, metrics = loop.build(algorithm)(meta, episodes)
        return {name: 1.5 * p for name, p in direction.items()}, metrics

    proof = TimedProof(algorithm, SINUSOID, OUTER, initial(algorithm), 25)
    fault = proof.before(Stepwise(half_as_much_again, initial(algorithm), replace(OUTER, lr=0.0)))
    assert fault.status == "incorrect"
    assert "differs from float64 by 5.0e-01" in fault.reason


def test_directions_are_shaken_once_for_all_batches():
    points = points_of(made())
    first = points.shaken(0)
    assert points.shaken(0) is first
    assert [len(found) for found in first] == [DISTINCT, DISTINCT]
