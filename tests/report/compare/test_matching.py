"""What of two runs is compared: costs whatever is trained around them, scores of one training, and what is missing."""

import pytest

from metabench.errors import UserError
from metabench.record.cell import AXES
from metabench.report.compare.runs import compare
from metabench.report.merge import merged
from runs import run

COSTS = ["time", "memory"]


def found(base, new):
    return compare(run(base, pairing="x"), run(new, pairing="x"))


OTHER = {
    "seed": 7,
    "preset": "paper",
    "inner_lr": 0.5,
    "eval_steps": 9,
    "eval_query": 3,
    "eval_batch": 2,
    "eval_queries": "single",
    "rotation": "none",
    "eval_rotation": "none",
    "eval_classes": "any",
    "batch_norm": "running",
    "outer_lr": 0.3,
    "outer_decay": "cosine",
    "outer_warmup": 5,
    "outer_epsilon": 1e-3,
    "iterations": 6000,
    "eval_tasks": 41,
}
"""Another value of each axis that no cost depends on."""


def test_every_axis_of_training_is_either_tried_here_or_a_cost():
    training = {name for name, axis in AXES.items() if axis.role in ("training", "evaluation") and not axis.cost}
    assert OTHER.keys() == training


@pytest.mark.parametrize("axis", OTHER)
def test_costs_match_whatever_is_trained_and_evaluated_around_them(row, axis):
    base, new = row(measure=COSTS), row(measure=COSTS, **{axis: OTHER[axis]})
    (change,) = found([base], [new]).cells
    assert change.time.ratio.value == pytest.approx(1, rel=0.05)
    assert change.memory.verdict == "the same"
    assert change.ids == tuple(sorted((base["id"], new["id"])))


@pytest.mark.parametrize("axis", OTHER)
def test_scores_match_where_all_but_the_seed_is_the_same(row, axis):
    base, new = row(measure=["quality"]), row(measure=["quality"], **{axis: OTHER[axis]})
    if axis == "seed":  # one training, without a seed in common
        assert found([base], [new]).quality == ()
        return
    with pytest.raises(
        UserError, match="the runs have no configuration in common: the nearest configurations differ in"
    ):
        found([base], [new])


def test_a_run_of_several_machines_is_compared_by_those_that_it_was_merged_from(row):
    fast = {"name": "Fast CPU", "usable_cores": 64}
    one, other = run([row()], "one"), run([row() | {"started": "2026-02-01T00:00:00Z"}], "other", processor=fast)
    both = merged([one, other])
    label = one.environment.machine_label
    assert "Test CPU" in label
    for pair, names in (((one, both), ("the base", "the new run")), ((both, one), ("the new run", "the base"))):
        with pytest.raises(UserError) as refused:
            compare(*pair)
        assert str(refused.value) == (
            f"the runs have no configuration in common: {names[0]} is of one machine ({label}), and {names[1]} of "
            f"several: compare with the runs that {names[1]} was merged from"
        )


@pytest.mark.parametrize(
    ("axis", "value"),
    [("outer", "sgd"), ("inner_steps", 2), ("model", "mlp-80x2"), ("threads", 4), ("first_order", 1.0), ("ways", 3)],
)
def test_costs_do_not_match_where_an_axis_changes_them(row, axis, value):
    with pytest.raises(UserError, match="the runs have no configuration in common"):
        found([row(measure=COSTS)], [row(measure=COSTS, **{axis: value})])


def test_runs_without_a_cell_in_common_are_told_in_what_they_differ(row):
    base = [row(measure=["quality"], algorithm=name, eval_tasks=40) for name in ("maml", "anil")]
    new = [row(measure=["quality"], algorithm=name, eval_tasks=41) for name in ("anil", "reptile")]
    with pytest.raises(UserError) as caught:
        found(base, new)
    assert (
        str(caught.value)
        == "the runs have no configuration in common: the nearest configurations differ in eval tasks (40; 41)"
    )
    with pytest.raises(UserError, match=r"differ in model \(mlp-40x2; mlp-80x2\)$"):
        found([row(measure=["quality"])], [row(measure=["quality"], model="mlp-80x2", seed=1)])


def test_many_differences_are_counted(row):
    new = row(measure=["quality"], **{axis: value for axis, value in OTHER.items() if axis != "seed"})
    with pytest.raises(UserError, match=f", {len(OTHER) - 5} more"):  # all but the seed and four that are named
        found([row(measure=["quality"])], [new])


def test_runs_that_measured_something_else_are_told_so(row):
    with pytest.raises(UserError) as caught:
        found([row(measure=["time"])], [row(measure=["quality"])])
    assert str(caught.value).endswith(": the base measured time, and the new run quality")
    with pytest.raises(UserError, match="the new run neither a cost nor a score"):
        found([row(measure=["time"])], [])


def lines(comparison) -> list[tuple]:
    return [(one.cell.algorithm, one.side, one.figures, one.why) for one in comparison.alone]


def test_figures_of_one_run_alone(row):
    both, base_only, new_only = row(), row(algorithm="anil", measure=COSTS), row(algorithm="reptile", measure=["time"])
    comparison = found([both, base_only], [new_only, both])
    assert [change.cell.algorithm for change in comparison.cells] == ["maml"]
    lacks = "has no such configuration: the nearest differs in algorithm"
    assert lines(comparison) == [
        (
            "anil",
            "base",
            ("time", "peak memory"),
            "the new run has no such configuration: the nearest differs in algorithm (anil; maml)",
        ),
        ("reptile", "new", ("time",), f"the base {lacks} (reptile; maml)"),
    ]


def test_a_cost_that_matches_has_a_score_of_its_own(row):
    comparison = found([row(iterations=100)], [row(iterations=200)])
    assert [(change.time is None, change.memory is None) for change in comparison.cells] == [(False, False)]
    assert lines(comparison) == [
        (
            "maml",
            "base",
            ("score",),
            "the new run has no such configuration: the nearest differs in iterations (100; 200)",
        ),
        ("maml", "new", ("score",), "the base has no such configuration: the nearest differs in iterations (200; 100)"),
    ]


@pytest.mark.parametrize(
    ("base", "new", "lost"),
    [
        (("ok", "ok"), ("crashed", "crashed"), True),
        (("ok", "ok"), ("ok", "incorrect"), True),
        (("ok", "ok"), ("ok", "timeout"), False),
        (("crashed",), ("ok",), False),
    ],
)
def test_statuses(row, base, new, lost):
    sides = [[row(number, word) for number, word in enumerate(words)] for words in (base, new)]
    comparison = found(*sides)
    (change,) = comparison.statuses
    assert change.base != change.new
    mine = [one for one in comparison.alone if one.side == "base"]
    assert [one.figures for one in mine] == ([("time", "peak memory"), ("score",)] if lost else [])
    assert all(one.why.startswith(f"the new run: {change.new}") for one in mine)


def test_a_seed_that_gives_no_score_any_more_is_missing(row):
    base = [row(0, seed=seed, measure=["quality"]) for seed in (0, 1)]
    new = [base[0], row(0, "diverged", "the loss is nan", seed=1, measure=["quality"])]
    comparison = found(base, new)
    assert [change.seeds for change in comparison.quality] == [1]
    assert lines(comparison) == [("maml", "base", ("score",), "the new run: diverged (1 of 2 rows): the loss is nan")]


def test_what_was_not_measured_or_in_another_way(row):
    base, bare, other = row(measure=COSTS), row(measure=["time"]), row(measure=COSTS)
    other["memory"]["tracked_method"] = "another"
    assert lines(found([base], [bare])) == [("maml", "base", ("peak memory",), "the new run did not measure it")]
    assert lines(found([base], [other])) == [
        ("maml", "base", ("peak memory",), "the new run measured it by another method"),
        ("maml", "new", ("peak memory",), "the base measured it by another method"),
    ]


def test_a_cell_that_gave_nothing_is_listed_where_the_other_run_lacks_it(row):
    comparison = found([row(), row(0, "crashed", algorithm="anil")], [row()])
    assert {(one.cell.algorithm, one.figures) for one in comparison.alone} == {("anil", ())}
