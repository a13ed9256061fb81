"""Central differences of an algorithm's definition: which are taken, and what kinks do to them."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.autodiff import TAPE
from metabench.correctness.differences import (
    DIFFERENCES,
    FINER,
    Way,
    _best_difference,
    _constants,
    _Objective,
    definition_error,
)
from metabench.correctness.gate import nudge
from metabench.correctness.kinks import Holding, Noting, OtherCalls
from metabench.engines import loop
from metabench.models.base import MODELS
from metabench.models.module import from_module
from metabench.tasks.base import TASKS, EpisodeShape
from metabench.tasks.stream import sampled
from metabench.tensors import flat, task_at

AT = {"x": torch.zeros(1, dtype=torch.float64)}
ALONG = torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize(("slope", "agrees"), [(1.0, True), (2.0, False)])
def test_finer_differences_are_taken_where_a_kink_lies_in_all_others(slope, agrees):
    kink = 3e-8

    def objective(point, held):
        x = float(point["x"])
        return x + 1000 * max(0.0, x - kink)

    found = _best_difference(objective, AT, ALONG, slope, 1e-5)
    assert found.way.size in FINER or not agrees
    assert found.error == pytest.approx(0 if agrees else 1, abs=1e-6)


@pytest.mark.parametrize(("slope", "agrees"), [(1.0, True), (2.0, False)])
def test_kinks_are_held_where_one_lies_in_the_first_difference(slope, agrees):
    def objective(point, held):
        x = float(point["x"])
        return x if held else x + 1000 * max(0.0, x)

    found = _best_difference(objective, AT, ALONG, slope, 1e-5)
    assert found.way == Way(DIFFERENCES[0], held=True) or not agrees
    assert found.error == pytest.approx(0 if agrees else 1, abs=1e-6)


USUAL = [(size, held) for size in DIFFERENCES for held in (False, True)]


@pytest.mark.parametrize(
    ("error", "first", "tried"),
    [
        (0.0, Way(1e-5), [(1e-5, False)]),  # the first agrees clearly
        (9e-7, Way(1e-5), [(1e-5, False)]),
        (9e-7, Way(1e-7, held=True), [(1e-7, True)]),  # it did best along another direction
        (2e-6, Way(1e-5), USUAL),  # within what is allowed, and another may be better
        (2e-6, Way(1e-8), [(1e-8, False), *USUAL]),
        (2e-5, Way(1e-5), [*USUAL, (1e-8, False), (1e-9, False)]),
    ],
)
def test_no_more_differences_are_taken_than_it_needs(error, first, tried):
    calls = []

    def objective(point, held):
        x = float(point["x"])
        calls.append((abs(x), held))
        return x

    found = _best_difference(objective, AT, ALONG, 1.0 - error, 1e-5, first)
    assert found.error == pytest.approx(error, abs=1e-12)
    assert [held for _, held in calls] == [held for _, held in tried for _ in range(2)]
    assert [size for size, _ in calls] == pytest.approx([size for size, _ in tried for _ in range(2)])


def test_what_is_not_finite_agrees_nowhere():
    found = _best_difference(lambda point, held: float("nan"), AT, ALONG, 1.0, 1e-5)
    assert not found.error <= 1e-5


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Conv2d(1, 4, 3, stride=3), nn.Linear(4 * 9 * 9, 5)

    def forward(self, x):
        return self.fc(F.leaky_relu(self.first(x), 0.2).flatten(1))


NETWORKS = {
    "conv4-16": MODELS.get("conv4-16"),
    "conv4-16-maxpool": MODELS.get("conv4-16-maxpool"),
    "resnet12": MODELS.get("resnet12"),
    "leaky": from_module(Leaky),
}


def at_a_point(name, algorithm="maml"):
    """An algorithm on images, meta-parameters in float64, and one task."""
    distribution = TASKS.get("glyphs").build(EpisodeShape(5, 1, 3), None)
    learner = Learner(NETWORKS[name](distribution.input_shape, 5), distribution.kind)
    made = ALGORITHMS.get(algorithm)(learner, 0.4, 2, autodiff=TAPE)
    generator = torch.Generator().manual_seed(0)
    meta = nudge(made.init(generator), generator)
    return SimpleNamespace(
        algorithm=made,
        meta=meta,
        episodes=sampled(distribution, "train", 1, generator, torch.zeros((), dtype=torch.float64)),
        generator=generator,
    )


def objective_of(at):
    task = task_at(at.episodes, 0)
    return _Objective(at.algorithm, at.meta, task, _constants(at.algorithm, at.meta, task))


def slopes(at, size, held):
    """The slope along the direction by a difference of this size, and by the direction itself."""
    direction, _ = loop.build(at.algorithm)(at.meta, at.episodes)
    objective = objective_of(at)
    norm = float(flat(direction).norm())
    ends = [
        objective({name: p + sign * size * direction[name] / norm for name, p in at.meta.items()}, held)
        for sign in (1, -1)
    ]
    return (ends[0] - ends[1]) / (2 * size), norm


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("algorithm", ["maml", "fomaml"])
def test_a_long_difference_is_exact_where_kinks_are_held(name, algorithm):
    """Of a smooth function the error falls with the square of the size, and kinks allow no such thing."""
    at = at_a_point(name, algorithm)
    (long, norm), (short, _) = slopes(at, 1e-5, held=True), slopes(at, 1e-6, held=True)
    assert abs(long - norm) <= 1e-2 * norm
    assert abs(short - norm) <= max(0.03 * abs(long - norm), 1e-7 * norm)


def test_at_the_point_itself_nothing_changes():
    for name in NETWORKS:
        at = at_a_point(name)
        objective = objective_of(at)
        assert objective(at.meta, held=True) == pytest.approx(objective(at.meta, held=False), rel=1e-13)


def test_a_wrong_direction_is_wrong_with_kinks_held():
    at = at_a_point("conv4-16-maxpool")
    right, _ = loop.build(at.algorithm)(at.meta, at.episodes)
    first_order, _ = loop.build(at_a_point("conv4-16-maxpool", "fomaml").algorithm)(at.meta, at.episodes)
    errors = [definition_error(at.algorithm, at.meta, at.episodes, d, at.generator) for d in (right, first_order)]
    assert errors[0] < 1e-6 and errors[1] > 1e-3


def test_sides_are_those_of_the_point_where_they_were_noted():
    sides = []
    at = torch.tensor([-1.0, 2.0])
    with Noting(sides):
        F.relu(at)
    with Holding(sides):
        assert F.relu(-at).tolist() == [0.0, -2.0]
    image, other = torch.tensor([[[[1.0, 2.0], [0.0, 0.0]]]]), torch.tensor([[[[5.0, 3.0], [0.0, 0.0]]]])
    with Noting(sides):
        F.max_pool2d(image, 2)
    with Holding(sides[1:]):
        assert F.max_pool2d(other, 2).tolist() == [[[[3.0]]]]


@pytest.mark.parametrize(
    "call", [lambda x: F.leaky_relu(x), lambda x: F.relu(x[:1]), lambda x: F.relu(F.relu(x)), lambda x: x]
)
def test_other_calls_than_those_noted_have_no_sides(call):
    sides, x = [], torch.tensor([-1.0, 2.0])
    with Noting(sides):
        F.relu(x)
    with pytest.raises(OtherCalls), Holding(sides):
        call(x)


@pytest.mark.parametrize("change", [lambda sides: sides.pop(), lambda sides: sides.append(sides[0])])
def test_an_objective_whose_calls_depend_on_the_point_has_no_value_with_kinks_held(change):
    at = at_a_point("conv4-16")
    objective = objective_of(at)
    change(objective._sides)
    assert math.isnan(objective(at.meta, held=True))
