"""What is recorded of a few held-out regression tasks, to be drawn."""

import numpy as np
import pytest
import torch
from msgspec import to_builtins

from metabench.record.quality import Fits
from metabench.record.reading import typed
from metabench.sweep.cell_tasks import held_out_shape
from metabench.sweep.fits import FITTED_POINTS, FITTED_TASKS, recorded_fits
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import build_algorithm, initial_meta
from metabench.tasks.base import TASKS, Drawable, EpisodeShape


def recorded(algorithm="maml", **axes):
    axes = {"task": "sinusoid", "algorithm": algorithm, "shots": 10, "iterations": 1, **axes}
    (cell,) = parse_sweep("test", {"grid": [axes]}, "", 1).cells
    held_out = TASKS.get("sinusoid").build(held_out_shape(cell), None)
    built = build_algorithm(cell, held_out)
    return recorded_fits(cell, built, initial_meta(cell, built), held_out)


@pytest.fixture(scope="module")
def maml():
    return recorded(eval_steps=10, inner_lr=0.02)


def test_true_curves_are_sinusoids_through_the_support(maml):
    assert len(maml.tasks) == FITTED_TASKS and len(maml.x) == FITTED_POINTS
    assert (maml.x[0], maml.x[-1]) == (-5, 5)
    basis = np.stack([np.sin(maml.x), np.cos(maml.x)], axis=1)
    for task in maml.tasks:
        weights, *_ = np.linalg.lstsq(basis, np.array(task.y), rcond=None)
        assert basis @ weights == pytest.approx(task.y, abs=1e-3)
        x = np.array(task.support_x)
        assert np.stack([np.sin(x), np.cos(x)], axis=1) @ weights == pytest.approx(task.support_y, abs=1e-3)


def test_predictions_approach_the_support_step_by_step(maml):
    for task in maml.tasks:
        assert [prediction.step for prediction in task.predictions] == [0, 1, 10]
        errors = [
            np.mean((np.interp(task.support_x, maml.x, prediction.y) - task.support_y) ** 2)
            for prediction in task.predictions
        ]
        assert errors[2] < errors[0]


def test_all_algorithms_are_shown_the_same_tasks(maml):
    other = recorded("cnp", model="mlp-40x2")
    assert [task.support_x for task in other.tasks] == [task.support_x for task in maml.tasks]
    assert [[p.step for p in task.predictions] for task in other.tasks] == [[0]] * FITTED_TASKS


def test_what_is_not_finite_is_not_recorded():
    assert recorded(eval_steps=10, inner_lr=1e30) is None


def test_tasks_of_images_cannot_be_drawn():
    assert isinstance(TASKS.get("sinusoid").build(EpisodeShape(1, 5, 5), None), Drawable)
    assert not isinstance(TASKS.get("glyphs").build(EpisodeShape(5, 1, 1), None), Drawable)


def test_a_report_takes_what_was_recorded_and_nothing_longer(maml):
    made = to_builtins(maml)
    assert typed(made, Fits) == maml
    for longer in ({"x": [0.0] * 1001}, {"tasks": made["tasks"] * 4}):
        with pytest.raises(ValueError, match="expected a list of length"):
            typed({**made, **longer}, Fits)


def test_curves_are_tasks_like_all_others():
    distribution = TASKS.get("sinusoid").build(EpisodeShape(1, 5, 3), None)
    tasks, x, y = distribution.curves("test", 4, 7, torch.Generator().manual_seed(3))
    same = distribution.sample("test", 4, torch.Generator().manual_seed(3))
    assert torch.equal(tasks.support.x, same.support.x) and torch.equal(tasks.query.y, same.query.y)
    assert x.shape == (7, 1) and y.shape == (4, 7, 1)
