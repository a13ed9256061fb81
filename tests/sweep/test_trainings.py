"""Configurations that differ in how they are judged alone share a training."""

import tomllib
from dataclasses import asdict

import pytest
import torch

from metabench.record.quality import CurvePoint
from metabench.sweep import scoring, trainings
from metabench.sweep.backends.local import in_turn
from metabench.sweep.jobs import Job
from metabench.sweep.measuring import measure_cell
from metabench.sweep.spec import Settings, parse_sweep
from metabench.sweep.trainings import KEPT, POINT, Training
from metabench.training import Trained

TEXT = """
[[grid]]
task = "sinusoid"
algorithm = ["maml", "fomaml"]
meta_batch = 2
iterations = 5
eval_tasks = 8
eval_query = [5, 10]
seed = [0, 1]
measure = ["quality"]
[[grid]]
task = "sinusoid"
algorithm = "reptile"
measure = ["quality"]
"""
CELLS = parse_sweep("test", tomllib.loads(TEXT), TEXT, 1).cells
ONE, OTHER = [cell for cell in CELLS if cell.algorithm == "maml" and cell.seed == 0]
META = {"weight": torch.arange(4.0)}
CURVE = [CurvePoint(0, 0.0, None, 0.2), CurvePoint(2, 7.0, 0.5, 0.3)]


def measured(cell, folder=None):
    found = {}
    measure_cell(cell, asdict(Settings(curve_points=1)), None, found.update, checkpoints=folder)
    return found["quality"]


def test_cells_that_differ_in_evaluation_alone_have_one_training():
    shared = {}
    for cell in CELLS:
        shared.setdefault(cell.training_id, []).append((cell.algorithm, cell.seed))
    assert sorted(shared.values()) == sorted(
        [*([(name, seed)] * 2 for name in ("maml", "fomaml") for seed in (0, 1)), [("reptile", 0)]]
    )


def test_held_out_tasks_of_other_shots_share_a_training_whose_own_shots_are_the_same():
    grid = {"task": "glyphs", "algorithm": ["maml", "prototypical"], "shots": [1, 5], "measure": ["quality"]}
    own = parse_sweep("own", {"grid": [grid]}, "", 1).cells
    assert len({cell.training_id for cell in own}) == 4 and trainings.taken_over(own) == frozenset()
    alike = parse_sweep("alike", {"grid": [grid | {"train_shots": 1, "query": 1}]}, "", 1).cells
    assert len({cell.training_id for cell in alike}) == 2
    assert trainings.taken_over(alike) == {cell.id for cell in alike if cell.shots == 5}
    timed = parse_sweep("timed", {"grid": [grid | {"train_shots": 1, "query": 1, "measure": ["time"]}]}, "", 1).cells
    assert trainings.taken_over(timed) == frozenset()


def test_folders_are_made_of_trainings_that_several_cells_share_and_one_needs(tmp_path):
    folder = tmp_path / "checkpoints"
    trainings.begin(folder, CELLS, [cell for cell in CELLS if cell.algorithm != "fomaml"])
    assert {each.name for each in folder.iterdir()} == {c.training_id for c in CELLS if c.algorithm == "maml"}
    trainings.end(folder)
    assert not folder.exists()
    trainings.begin(folder, CELLS, [])
    trainings.end(folder)
    assert not folder.exists()


def test_the_second_cell_is_judged_by_the_training_of_the_first(tmp_path, monkeypatch):
    alone = measured(ONE), measured(OTHER)
    trainings.begin(tmp_path, CELLS, CELLS)
    first = measured(ONE, tmp_path)
    monkeypatch.setattr(scoring, "train", None)
    second = measured(OTHER, tmp_path)
    assert first.task_scores == alone[0].task_scores and second.task_scores == alone[1].task_scores
    assert (first.trained_by, second.trained_by) == (None, ONE.id)
    assert second.train_s == first.train_s
    assert first.value != second.value


def test_the_curve_of_each_is_judged_as_it_is_itself(tmp_path):
    alone = [point.value for point in measured(OTHER).curve]
    trainings.begin(tmp_path, CELLS, CELLS)
    first, second = measured(ONE, tmp_path), measured(OTHER, tmp_path)
    assert [point.value for point in second.curve] == pytest.approx(alone) != [point.value for point in first.curve]
    told = [[(point.iteration, point.seconds, point.loss) for point in found.curve] for found in (first, second)]
    assert told[0] == told[1] and len(told[0]) == 2


def test_a_point_that_was_not_kept_is_left_out(tmp_path):
    trainings.begin(tmp_path, CELLS, CELLS)
    measured(ONE, tmp_path)
    (tmp_path / ONE.training_id / POINT.format(0)).unlink()
    assert [point.iteration for point in measured(OTHER, tmp_path).curve] == [ONE.iterations]


def test_a_point_of_another_training_is_left_out(kept):
    kept(ONE).keep_point(3, META)
    assert torch.equal(kept(OTHER).point(3, META)["weight"], META["weight"])
    assert kept(OTHER, code="b").point(3, META) is None and kept(OTHER).point(4, META) is None


def test_without_a_folder_each_trains_by_itself(tmp_path):
    assert measured(OTHER, tmp_path).trained_by is None and not list(tmp_path.glob(f"{OTHER.training_id}*"))


@pytest.fixture
def kept(tmp_path):
    """A training of four numbers that `ONE` has kept, and what finds it for `OTHER`."""

    def training(cell, **facts):
        return Training(tmp_path, cell, {"code": "a", **facts})

    assert training(ONE).found_or(lambda: Trained(META, 7.0, CURVE), META)[1] is None
    return training


def other():
    return Trained({"weight": torch.zeros(4)}, 1.0, [])


def test_what_was_kept_is_found(kept):
    found, by = kept(OTHER).found_or(None, META)
    assert found.curve == [CurvePoint(0, 0.0), CurvePoint(2, 7.0, 0.5)]
    assert torch.equal(found.meta["weight"], META["weight"]) and (found.seconds, by) == (7.0, ONE.id)


@pytest.mark.parametrize("spoil", ["facts", "shape", "type", "damage", "gone"])
def test_what_does_not_fit_is_trained_anew_and_kept(kept, spoil, tmp_path):
    facts = {"code": "b"} if spoil == "facts" else {}
    due = {"shape": torch.zeros(5), "type": torch.zeros(4).double()}.get(spoil, META["weight"])
    if spoil == "damage":
        (tmp_path / KEPT).write_bytes((tmp_path / KEPT).read_bytes()[:-40])
    if spoil == "gone":
        (tmp_path / KEPT).unlink()
    fresh = Trained({"weight": due}, 1.0, [])
    assert kept(OTHER, **facts).found_or(lambda: fresh, {"weight": due}) == (fresh, None)
    assert kept(ONE, **facts).found_or(None, {"weight": due})[1] == OTHER.id


def test_a_training_that_cannot_be_kept_goes_on(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError("the disk is full")

    monkeypatch.setattr(trainings, "replacing", refuse)
    made = other()
    assert Training(tmp_path, ONE, {}).found_or(lambda: made, META) == (made, None)


def test_side_by_side_the_first_of_each_training_comes_first():
    jobs = [Job(cell, 0) for cell in CELLS]
    found = [(job.cell.seed, job.cell.algorithm, job.cell.eval_query) for job in in_turn(jobs)]
    assert found == [
        *[(0, "maml", 5), (0, "fomaml", 5), (0, "reptile", 100), (0, "maml", 10), (0, "fomaml", 10)],
        *[(1, "maml", 5), (1, "fomaml", 5), (1, "maml", 10), (1, "fomaml", 10)],
    ]
