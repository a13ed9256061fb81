"""What a sweep asks for holds in training and in testing; what it leaves open is alike for all that stand together."""

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.fomaml import FOMAML
from metabench.algorithms.maml import MAML
from metabench.algorithms.presets import Preset, most_specific
from metabench.algorithms.reptile import Reptile
from metabench.errors import UserError
from metabench.profile.measuring import cell_of
from metabench.record.cell import AXES, axes_of
from metabench.sweep.brief import sweep_of
from metabench.sweep.builtin import find_sweep
from metabench.sweep.runner import plan
from metabench.sweep.spec import assignments, load_sweep, parse_sweep
from metabench.tasks.base import TASKS, TaskSource

TASK_OF = {"regression": "sinusoid", "classification": "omniglot"}
METHOD = ("inner_lr", "outer", "outer_lr", "outer_decay", "outer_warmup", "model", "inner_steps")
"""Axes that belong to an algorithm's method, beside techniques."""


class Plugged(MAML):
    """MAML from elsewhere, without a preset."""

    presets = {}  # noqa: RUF012


@pytest.fixture
def plugged(monkeypatch):
    """A plug-in without presets."""
    monkeypatch.setitem(ALGORITHMS._entries, "plugged", Plugged)
    ALGORITHMS.names()
    return "plugged"


def sweep(**grid):
    return parse_sweep("test", {"grid": [grid]}, "", 2)


def only(**grid):
    (cell,) = sweep(**grid).cells
    return cell


def test_five_shots_are_five_in_training_wherever_they_are_asked_for():
    asked = {"task": "omniglot", "shots": 5}
    every = [name for name, one in ALGORITHMS if "classification" in one.kinds]
    planned = [job.cell for job in plan(sweep(**asked, algorithm=every))]
    advised = sweep_of({**asked, "algorithm": "maml"}, "loop,vmap", 1, 60, 2).cells
    cells = [*planned, *advised, cell_of("maml/vmap", asked, 2)]
    assert {(cell.shots, cell.train_shots, cell.train_ways) for cell in cells} == {(5, 5, 5)}
    set_by_hand = load_sweep(find_sweep("default"), assignments(["shots=5"], "--set"), 2).cells
    assert {cell.train_shots for cell in set_by_hand} == {5}


def test_queries_and_steps_hold_in_testing():
    cell = only(task="omniglot", algorithm="maml", query=15, inner_steps=5)
    assert (cell.query, cell.eval_query, cell.inner_steps, cell.eval_steps) == (15, 15, 5, 5)
    cell = only(task="sinusoid", algorithm="anil", query=20, inner_steps=2)
    assert (cell.eval_query, cell.eval_steps) == (20, 2)
    assert cell_of("reptile/loop", {"task": "sinusoid", "inner_steps": 3}, 2).eval_steps == 3


def test_what_is_asked_for_by_its_own_name_holds():
    asked = {"train_shots": 1, "train_ways": 20, "eval_steps": 7, "eval_query": 3, "query": 4}
    cell = only(task="omniglot", algorithm="prototypical", shots=5, **asked)
    assert {axis: cell[axis] for axis in asked} == asked | {"eval_steps": 0}  # it has no inner loop
    assert only(task="omniglot", algorithm="maml", shots=5, **{**asked, "train_ways": 5}).eval_steps == 7


def test_a_preset_by_name_is_taken_whole():
    cell = only(task="omniglot", algorithm="maml", preset="quick", shots=5)
    assert (cell.shots, cell.train_shots, cell.query, cell.eval_steps, cell.eval_query) == (5, 1, 1, 3, 5)
    cell = only(task="omniglot", algorithm="reptile", preset="published")
    assert (cell.train_shots, cell.query, cell.eval_steps, cell.eval_query, cell.meta_batch) == (2, 8, 50, 1, 5)
    assert cell.eval_batch == 5 and only(task="omniglot", algorithm="reptile").eval_batch == 0
    assert only(task="omniglot", algorithm="prototypical", preset="published", shots=5).eval_query == 15


def test_without_a_name_a_training_is_one_that_any_engine_can_afford():
    named, unnamed = (only(task="omniglot", algorithm="fomaml", **asked) for asked in ({"preset": "quick"}, {}))
    reference = most_specific(MAML.presets, "quick", "omniglot", 5, 1)
    assert named.iterations == FOMAML.presets["quick/omniglot"].iterations > unnamed.iterations
    assert unnamed.iterations == reference.alike_iterations == 2_500
    sine = most_specific(MAML.presets, "quick", "sinusoid", 1, 10)
    assert only(task="sinusoid", algorithm="fomaml").iterations == sine.iterations


def test_without_a_name_all_descend_alike():
    """Reptile's quick preset has its authors' inner optimiser, which no library carries, and a rate for it."""
    named, unnamed = (only(task="omniglot", algorithm="reptile", **asked) for asked in ({"preset": "quick"}, {}))
    own = Reptile.presets["quick/omniglot"]
    assert (named.inner_optimizer, named.inner_lr) == (own.inner_optimizer, own.inner_lr) == ("rmsprop", own.inner_lr)
    assert (unnamed.inner_optimizer, unnamed.inner_lr) == ("sgd", own.plain.inner_lr)


def test_a_preset_by_name_says_how_it_is_judged():
    published = {"batch_norm": "running", "split": "vinyals-trainval", "eval_rotation": "classes", "eval_query": 15}
    published |= {"rotation": "classes", "eval_tasks": 1000}
    for name in ("prototypical", "matching"):
        cell = only(task="omniglot", algorithm=name, preset="published")
        assert {axis: cell[axis] for axis in published} == published
    asked = {"batch_norm": "transductive", "split": "classes", "eval_rotation": "none", "eval_tasks": 7}
    cell = only(task="omniglot", algorithm="prototypical", preset="published", **asked)
    assert {axis: cell[axis] for axis in published} == published | asked
    cell = only(task="omniglot", algorithm="prototypical")
    usual = {axis: AXES[axis].default for axis in published} | {"eval_query": 1}
    assert {axis: cell[axis] for axis in published} == usual


def test_a_published_split_is_for_the_task_of_its_preset():
    for task, found in (("glyphs", ("classes", "classes")), ("images", ("classes", "random"))):
        cell = only(task=task, algorithm="prototypical", preset="published")
        assert (cell.split, cell.rotation) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"rotation": "none"}, ("none", "none")),
        ({"rotation": "classes", "eval_rotation": "none"}, ("classes", "none")),
        ({"eval_rotation": "episode"}, ("random", "episode")),
    ],
)
def test_held_out_tasks_are_turned_as_training_tasks_unless_said(asked, found):
    cell = only(task="omniglot", algorithm="maml", **asked)
    assert (cell.rotation, cell.eval_rotation) == found


def test_tasks_that_cannot_be_turned_refuse_to_be():
    with pytest.raises(UserError, match="axis 'rotation' is for the tasks .*omniglot.*, not for sinusoid"):
        sweep(task="sinusoid", algorithm="maml", rotation="none")
    images, sine = sweep(task=["omniglot", "sinusoid"], algorithm="maml", rotation="none").cells
    assert (images.rotation, sine.rotation, sine.eval_rotation) == ("none", "random", "random")


def test_tasks_whose_test_classes_are_not_known_make_no_tests_of_any():
    with pytest.raises(UserError, match="axis 'eval_classes' is for the tasks glyphs, omniglot, not for miniimagenet"):
        sweep(task="miniimagenet", algorithm="maml", eval_classes="any")


def test_without_a_name_only_what_belongs_to_the_method_is_the_algorithms_own():
    """Of every algorithm, on the task of each kind, with as many inner steps as the sweep asks for."""
    matched = [*axes_of("task", "size", "evaluation"), "iterations", "seed", "preset"]
    matched = [axis for axis in matched if axis not in METHOD]
    for kind, task in TASK_OF.items():
        names = [name for name, one in ALGORITHMS if kind in one.kinds]
        cells = sweep(task=task, algorithm=names, inner_steps=5).cells
        maml = next(cell for cell in cells if cell.algorithm == "maml")
        for cell in cells:
            differing = {axis for axis in matched if cell[axis] != maml[axis]}
            without_loop = {"eval_steps"} if ALGORITHMS.get(cell.algorithm).order == "none" else set()
            nothing_learned = {"iterations"} if cell.algorithm == "from-scratch" else set()
            assert differing == without_loop | nothing_learned, cell.algorithm
    reptile = only(task="sinusoid", algorithm="reptile")
    assert (reptile.inner_lr, reptile.outer, reptile.outer_lr, reptile.outer_decay) == (0.02, "sgd", 1.0, "linear")


@pytest.mark.parametrize("asked", [{}, {"inner_steps": 5, "iterations": 300}, {"preset": "published"}, {"shots": 5}])
@pytest.mark.parametrize("task", ["sinusoid", "omniglot", "glyphs"])
def test_a_plug_in_without_a_preset_is_matched_with_maml_on_every_axis(plugged, task, asked):
    maml, mine = sweep(task=task, algorithm=["maml", plugged], **asked).cells
    assert [axis for axis in AXES if maml[axis] != mine[axis]] == ["algorithm"]


def test_presets_of_its_own_task_come_before_those_of_the_kind(plugged, monkeypatch):
    own = Preset("mine", "conv4-16", 0.25, 2, 2, 16, 3, 10)
    monkeypatch.setattr(Plugged, "presets", {"quick/glyphs": own, "mine/glyphs": own})
    assert only(task="glyphs", algorithm=plugged).inner_lr == 0.25
    assert only(task="omniglot", algorithm=plugged).inner_lr == 0.4
    maml, mine = sweep(task="glyphs", algorithm=["maml", plugged], preset="mine").cells
    assert (mine.meta_batch, maml.meta_batch, maml.inner_lr) == (16, 8, 0.4)  # maml has none of that name


def test_the_sweep_says_what_was_filled_in_and_from_where(plugged):
    alike, lacking = sweep(task="sinusoid", algorithm=["maml", plugged], inner_steps=5).filled_in
    size = "meta-batch 25, query 10, iterations 6000 (sinusoid)"
    assert alike == f"Filled in for all algorithms, from maml's preset: {size}."
    method = "model mlp-40x2, inner lr 0.01, outer lr 0.001 (sinusoid)"
    assert lacking == f"Filled in for plugged (no preset of its own), from maml's: {method}."
    (named,) = sweep(task="sinusoid", algorithm="maml", preset="published").filled_in
    assert named == "Filled in for each algorithm, from its preset by the name that is given: published."
    assert len(sweep(task="sinusoid", algorithm=["maml", "prototypical"]).filled_in) == 1  # that is for images alone
    whole = {"meta_batch": 4, "query": 5, "iterations": 10}
    assert sweep(task="sinusoid", algorithm="maml", **whole).filled_in == ()


COLOUR = ("emblems", "cifar-fs", "fc100", "cub", "tieredimagenet")


@pytest.mark.parametrize("task", COLOUR)
@pytest.mark.parametrize("asked", [{}, {"preset": "published"}, {"shots": 5}, {"preset": "published", "shots": 5}])
def test_colour_images_take_the_presets_of_miniimagenet(task, asked):
    algorithms = ["maml", "prototypical", "reptile"]
    cells = sweep(task=task, algorithm=algorithms, **asked).cells
    others = sweep(task="miniimagenet", algorithm=algorithms, **asked).cells
    for cell, other in zip(cells, others, strict=True):
        assert [axis for axis in AXES if cell[axis] != other[axis]] == ["task"]


def test_a_borrowed_preset_is_said_with_its_task(plugged):
    alike, lacking = sweep(task=["cub", "miniimagenet"], algorithm=["maml", plugged]).filled_in
    assert "(cub, which takes those of miniimagenet); meta-batch" in alike and alike.endswith("(miniimagenet).")
    assert "(cub, which takes those of miniimagenet); model" in lacking and lacking.endswith("(miniimagenet).")
    (named,) = sweep(task=["cub", "miniimagenet"], algorithm="maml", preset="published").filled_in
    assert named.endswith("by the name that is given: published (cub, which takes those of miniimagenet); published.")
    grey = sweep(task="glyphs", algorithm="maml").filled_in[0]
    assert grey.endswith("(glyphs, which takes those of omniglot).")


def test_what_only_data_can_tell_is_taken_for_colour_images(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "unknown", TaskSource("classification", lambda shape, data_dir: None))
    monkeypatch.setitem(TASKS._entries, "grey", TaskSource("classification", lambda *_: None, input_shape=(1, 28, 28)))
    assert [TASKS.get(name).relative({}) for name in ("unknown", "grey")] == ["miniimagenet", "omniglot"]


@pytest.mark.parametrize("shots", [1, 5])
def test_a_quick_preset_asks_for_no_more_classes_than_the_sweep(shots):
    """So that a data set with classes enough for testing has not too few for training."""
    every = [name for name, one in ALGORITHMS if "classification" in one.kinds]
    for cell in sweep(task="cub", algorithm=every, preset="quick", shots=shots).cells:
        assert (cell.train_ways, cell.train_shots) == (5, shots), cell.algorithm


def test_every_kind_of_task_has_presets_to_take():
    assert {one.kind for _, one in TASKS} == set(TASK_OF)
    for task in TASK_OF.values():
        assert f"quick/{task}" in MAML.presets
