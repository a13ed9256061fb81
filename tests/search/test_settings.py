"""What a search may be asked for, and what is said of what it may not."""

import pytest

from metabench.algorithms.base import ALGORITHMS
from metabench.errors import UserError
from metabench.record.searching import read_search
from metabench.search.settings import ALIKE, again, settings_for
from metabench.search.space import Choice, Range, assigned, usual_space
from places import RESULTS


def made(algorithm="maml", axes=None, file=None, sets=(), **rest):
    return settings_for(algorithm, {"task": "glyphs"} | (axes or {}), file, assigned(list(sets), "--set"), **rest)


def test_the_last_that_names_an_axis_counts(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('query = 3\nmeta_batch = [2, 4]\ninner_lr = {low = 0.1, high = 1}\nmodel = "conv4-32"\n')
    found = made(file=file, sets=["meta_batch=8", "outer_decay=linear,halving"])
    assert found.fixed["query"] == 3 and found.fixed["meta_batch"] == 8 and found.fixed["model"] == "conv4-32"
    assert found.space["inner_lr"] == Range(0.1, 1) and found.space["outer_decay"] == Choice(("linear", "halving"))
    assert found.space["inner_steps"] == Range(1, 8, whole=True), "what nobody names stays as usual"
    assert (found.fixed["seed"], found.fixed["threads"], found.fixed["ways"]) == (1000, 1, 5)


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_algorithm_has_a_space_that_its_cells_lie_in(name):
    kind = ALGORITHMS.get(name).kinds[0]
    found = made(name, {"task": "glyphs" if kind == "classification" else "sinusoid"})
    cell = found.cell(found.sampler.next([], found.first))
    assert all(found.space[axis].nearest(cell[axis]) == cell[axis] for axis in found.space)
    assert ("inner_lr" in found.space) == (ALGORITHMS.get(name).order != "none")


def test_the_space_follows_the_family_and_the_task():
    assert "train_ways" in usual_space("prototypical", "classification", "conv4-32")
    assert "train_ways" not in usual_space("maml", "classification", "conv4-32")
    assert "model" not in usual_space("maml", "classification", "resnet18")
    assert usual_space("reptile", "classification", "conv4-32")["outer_lr"]["high"] == 1.0
    assert usual_space("maml", "regression", "mlp-40x2")["inner_lr"]["high"] < 1


def test_steps_on_held_out_tasks_follow_those_of_training_unless_they_are_asked_for():
    assert made().cell({"inner_steps": 4}).eval_steps == 6
    assert made(sets=["eval_steps=3"]).cell({"inner_steps": 4}).eval_steps == 3
    assert made("prototypical").cell({}).eval_steps == 0


@pytest.mark.parametrize("name", ["meta-sgd", "task-adaptive-maml", "maml++", "maml", "anil", "meta-curvature"])
@pytest.mark.parametrize(("task", "like"), [("glyphs", "omniglot"), ("sinusoid", "sinusoid")])
def test_a_trial_is_tested_after_as_many_steps_more_as_the_preset(name, task, like):
    """Learned rates are too large for more steps than they were trained with."""
    preset = ALGORITHMS.get(name).presets[f"quick/{like}"]
    more = preset.eval_steps - preset.inner_steps
    assert made(name, {"task": task}).cell({"inner_steps": 4}).eval_steps == 4 + more
    assert made(name, {"task": task}, sets=["inner_steps=3"]).cell({}).eval_steps == 3 + more
    assert more == 0 or name not in ("meta-sgd", "task-adaptive-maml", "maml++")


@pytest.mark.parametrize("steps", ["0", "0,3"])
def test_what_learns_by_its_inner_loop_alone_is_not_searched_without_one(steps):
    with pytest.raises(UserError, match="reptile learns by its inner loop alone: let inner_steps be 1 or more"):
        made("reptile", sets=[f"inner_steps={steps}"])
    assert made("maml", sets=[f"inner_steps={steps}"]).cell({"inner_steps": 0}).inner_steps == 0


@pytest.mark.parametrize(
    ("sets", "rest", "said"),
    [
        (["inner_lrs=1"], {}, "unknown axis 'inner_lrs': did you mean 'inner_lr'"),
        (["preset=quick"], {}, "unknown axis of a search 'preset'"),
        (["model=conv4-33"], {}, "unknown model 'conv4-33': did you mean 'conv4-3"),
        (["inner_steps=0.5,1"], {}, "axis 'inner_steps' takes whole numbers"),
        ([], {"prune": "medina"}, "unknown prune 'medina': did you mean 'median'"),
        ([], {"seconds": 0.0}, "'seconds'"),
        ([], {"engine": "vmpa"}, "unknown engine 'vmpa': did you mean 'vmap'"),
        ([], {"first": {"inner_lrs": 1}}, "unknown axis that is searched 'inner_lrs': did you mean 'inner_lr'"),
        ([], {"first": {"query": 77}}, "the first trial cannot have query = 77"),
        (["path=here"], {}, "axis 'path' is for the tasks"),
        (["threads=1,2"], {}, "axis 'threads' of a search takes one value"),
        (["rotation=classes,none"], {}, "axis 'eval_rotation' would follow it: give it one value"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_choice(sets, rest, said):
    with pytest.raises(UserError, match=said):
        made(sets=sets, **rest)


@pytest.mark.parametrize(
    "choice",
    [
        *("path=here,there", "split=classes,groups", "image_size=14,28", "ways=2,20", "shots=1,5", "seed=1,2"),
        *("eval_query=1,15", "eval_queries=balanced,single", "eval_rotation=classes,none", "eval_tasks=100,600"),
        *("eval_classes=new,any", "batch_norm=transductive,running"),
    ],
)
def test_what_trials_are_judged_on_is_never_searched(choice):
    """Two-way tasks would win against twenty-way ones."""
    axis, _, values = choice.partition("=")
    said = f"^axis '{axis}' of a search takes one value, so that its trials can be compared: give it one$"
    with pytest.raises(UserError, match=said):
        made(axes={"task": "images"}, sets=[choice])
    if axis in ("ways", "shots", "seed", "eval_query", "batch_norm"):
        value = values.split(",")[0]
        assert str(made(sets=[f"{axis}={value}"]).cell({})[axis]) == value


def test_all_trials_of_a_search_have_the_same_held_out_tasks():
    found = made(sets=["rotation=classes,none", "eval_rotation=none", "query=1,9", "train_shots=1,3"])
    cells = [
        found.cell({"rotation": turned, "query": n, "train_shots": 3}) for turned, n in (("classes", 1), ("none", 9))
    ]
    assert {cell.eval_rotation for cell in cells} == {"none"} and len({cell.eval_query for cell in cells}) == 1
    assert len({cell.seed_for("validation") for cell in cells}) == 1
    assert set(found.space) & ALIKE == set()


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/searches/*/search.toml")), ids=lambda f: f.parent.name)
def test_every_committed_search_can_be_repeated(file):
    found = again(file)
    assert {frozenset(trial.parameters) for trial in read_search(file.parent).trials} == {frozenset(found.space)}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inner_lr = {low = 1}", "both ends"),
        ("inner_lr = {low = 2, high = 1}", "must rise"),
        (
            "inner_lr = {low = 1, high = 2, logg = true}",
            "unknown part of the range of 'inner_lr' 'logg': did you mean 'log'",
        ),
        ("query = {low = 0, high = 2}", "axis 'query' takes"),
        ('outer_decay = {low = "a", high = "b"}', "has no order"),
        ("query = [1]", "needs two values or more"),
        ("inner_lrs = 1", "unknown axis of a search 'inner_lrs': did you mean 'inner_lr'"),
        ("inner_lr = ", "is not valid TOML"),
    ],
)
def test_a_file_of_axes_is_checked(tmp_path, line, said):
    (tmp_path / "space.toml").write_text(line)
    with pytest.raises(UserError, match=said):
        made(file=tmp_path / "space.toml")


def test_a_search_needs_something_to_search_and_a_task_that_fits():
    fixed = [f"{axis}={value}" for axis, value in
             {"inner_lr": 1, "inner_steps": 1, "meta_batch": 1, "query": 1, "outer_lr": 1, "outer_decay": "none",
              "model": "conv4-32"}.items()]  # fmt: skip
    with pytest.raises(UserError, match="nothing to choose from"):
        made(sets=fixed)
    with pytest.raises(UserError, match="prototypical is for classification tasks"):
        made("prototypical", {"task": "sinusoid"})
