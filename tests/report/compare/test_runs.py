"""Two runs compared: matching, memory, quality, statuses and conditions; times have tests of their own."""

import copy
import dataclasses
import random

import pytest
from msgspec.structs import replace

from metabench.record.environment import Environment, SweepName
from metabench.report.compare.runs import compare, quality_changes
from metabench.report.compare.thresholds import failures, missing
from metabench.report.results import Run
from runs import faster, records, run


def test_a_run_is_the_same_as_itself(row):
    rows = [
        row(number, algorithm=name, seed=seed) for name in ("maml", "anil") for seed in (0, 1) for number in range(3)
    ]
    found = compare(run(rows, pairing="x"), run(rows, pairing="x"))
    assert {change.time.verdict for change in found.cells} == {"the same"}
    assert {change.memory.verdict for change in found.cells} == {"the same"}
    assert {change.verdict for change in found.quality} == {"the same"}
    assert {group.value for group in found.groups} == {1.0}
    assert found.same_machine


def test_rounds_are_paired_only_where_both_runs_say_so(row):
    base = [row(number % 3) | {"round": number} for number in range(8)]  # drifts by up to a factor of two
    new = [faster(made, 1.03 + 0.001 * number) for number, made in enumerate(base)]
    paired = compare(run(base, pairing="x"), run(new, pairing="x"))
    assert (paired.paired, paired.cells[0].time.verdict) == (True, "slower")
    for pairings in ((None, None), ("x", None), ("x", "y")):
        apart = compare(*(run(rows, pairing=name) for rows, name in zip((base, new), pairings, strict=True)))
        assert (apart.paired, apart.cells[0].time.verdict) == (False, "cannot tell")


def test_references_make_the_floor_and_no_cell(row):
    base = [row(0) | {"round": number} for number in range(8)]
    new = [faster(made, 1.03) for made in base]
    pairs = [
        faster(row(0), 1.5 if side == "a" else 1.0) | {"round": pair, "reference": {"pair": pair, "side": side}}
        for pair in range(3)
        for side in "ab"
    ]
    runs = [run(base, pairing="x"), run(new, pairing="x")]
    assert compare(*runs).cells[0].time.verdict == "slower"
    noisy = Run("run", "synthetic", runs[0].measurements, runs[0].environment, (), tuple(records(pairs)))
    found = compare(noisy, runs[1])
    assert found.floor.ratio > 1.5
    assert found.cells[0].time.rounds == 8
    assert found.cells[0].time.verdict == "cannot tell"


def test_any_byte_of_tracked_memory_is_a_change(row):
    base = row()
    for extra, verdict in ((1, "more"), (-1, "less"), (0, "the same")):
        new = copy.deepcopy(base)
        new["memory"]["tracked_bytes"] += extra
        (change,) = compare(run([base]), run([new])).cells
        assert (change.memory.verdict, change.memory.new - change.memory.base) == (verdict, extra)
    new["memory"]["tracked_method"] = "another"
    assert compare(run([base]), run([new])).cells[0].memory is None
    assert compare(run([base]), run([base | {"memory": None}])).cells[0].memory is None


def test_instructions_are_the_same_within_half_a_per_cent(row):
    def counted(count, method="counted"):
        return run(
            [row() | {"instructions": {"instructions": count, "cycles": None, "iterations": 4, "method": method}}]
        )

    for count, verdict in ((1004.0, "the same"), (1006.0, "more"), (990.0, "less")):
        (change,) = compare(counted(1000.0), counted(count)).cells
        assert (change.instructions.verdict, change.instructions.new) == (verdict, count)
    assert compare(counted(1000.0), counted(1000.0, "another way")).cells[0].instructions is None
    assert compare(counted(1000.0), run([row()])).cells[0].instructions is None
    assert compare(counted(1000.0), counted(None)).cells[0].instructions is None


def scored(row, *values: float, metric: str = "mse", half: float = 0.01) -> list[dict]:
    made = []
    for seed, value in enumerate(values):
        one = row(seed=seed)
        one["quality"] |= {"value": value, "low": value - half, "high": value + half, "metric": metric}
        made.append(one)
    return records(made)


@pytest.mark.parametrize(
    ("base", "new", "metric", "verdict"),
    [
        ((0.50, 0.51, 0.49), (0.90, 0.91, 0.89), "mse", "worse"),
        ((0.90, 0.91, 0.89), (0.50, 0.51, 0.49), "mse", "better"),
        ((0.50, 0.51, 0.49), (0.90, 0.91, 0.89), "accuracy", "better"),
        ((0.90, 0.91, 0.89), (0.50, 0.51, 0.49), "accuracy", "worse"),
        ((0.50, 0.51, 0.49), (0.50, 0.51, 0.49), "mse", "the same"),
        ((0.50, 0.51, 0.49), (0.50, 0.51, 0.4900001), "mse", "cannot tell"),
        ((0.50, 0.70, 0.30), (0.90, 0.40, 0.80), "mse", "cannot tell"),  # seeds disagree
        ((0.50,), (0.90,), "mse", "worse"),
    ],
)
def test_quality_over_seeds(row, base, new, metric, verdict):
    (change,) = quality_changes(scored(row, *base, metric=metric), scored(row, *new, metric=metric))
    assert (change.verdict, change.seeds) == (verdict, len(base))


def test_the_difference_of_quality_by_hand(row):
    # each seed differs by about 0.4 ± √2 · 0.01; the seeds agree, so that is the interval
    (change,) = quality_changes(scored(row, 0.5, 0.6), scored(row, 0.9, 1.0))
    assert change.difference.value == pytest.approx(0.4)
    assert change.difference.high - change.difference.value == pytest.approx(2**0.5 * 0.01, rel=0.01)
    (change,) = quality_changes(scored(row, 0.5, 0.6), scored(row, 0.9, 1.0, 1.1))
    assert change.seeds == 2  # those that both have
    assert quality_changes(scored(row, 0.5)[:0], scored(row, 0.5)) == ()


def test_scores_on_other_data_are_listed_and_not_compared(row):
    def side(name, score, content):
        rows = [row(0, seed=seed, measure=["quality"]) for seed in range(3)]
        for one in rows:
            one["quality"] |= {"value": score, "low": score - 0.01, "high": score + 0.01}
            one["data"]["content_hash"] = content * 32
        return run(rows, name)

    base = side("base", 0.4, "ab")
    (change,) = compare(base, side("new", 0.8, "ab")).quality
    assert change.verdict == "worse"
    found = compare(base, side("new", 0.8, "cd"))
    assert found.quality == () and failures(found, 0.05) == []
    assert [(one.figures, one.side, one.why) for one in found.alone] == [
        (("score",), "base", "the new run was trained on other data"),
        (("score",), "new", "the base was trained on other data"),
    ]
    assert [failure.reason for failure in missing(found)] == [
        "the base has its score, and the new run was trained on other data"
    ]


def test_quality_is_corrected_for_the_number_of_trainings(row):
    """One training that seems worse at p = 0.015 is a finding among one, and none among twenty."""
    half, gain = 0.01, 0.0175

    def side(count: int, extra: float) -> list[dict]:
        made = []
        for number in range(count):
            (one,) = scored(row, 0.5 + (extra if number == 0 else 1e-9 * extra), half=half)
            made.append(replace(one, cell=replace(one.cell, inner_lr=0.1 * (number + 1))))
        return made

    assert quality_changes(side(1, 0), side(1, gain))[0].verdict == "worse"
    assert {change.verdict for change in quality_changes(side(20, 0), side(20, gain))} == {"cannot tell"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 4}, "numbers of threads differ (2; 4)"),
        (
            {"packages": {"torch": "2.14", "numpy": "2.0", "jax": "1"}},
            "versions differ (jax none; 1, torch 2.13; 2.14)",
        ),
        ({"environment": {}}, "settings of the environment differ (OMP_NUM_THREADS 2; none)"),
        ({"python": {"version": "3.13"}}, "versions of Python differ (3.11; 3.13)"),
    ],
)
def test_what_else_differs_is_said(row, changes, words):
    found = compare(run([row()]), run([row()], **changes))
    assert found.same_machine
    (sentence,) = found.warnings
    assert words in sentence


def test_other_machines_data_and_sweeps_are_said(row):
    elsewhere = run([row()], processor={"name": "Other CPU", "usable_cores": 8})
    found = compare(run([row()]), elsewhere)
    assert not found.same_machine
    assert "the machines differ (Test CPU, 2 cores, 8 GiB; Other CPU, 8 cores, 8 GiB)" in found.warnings[0]
    other_data = row() | {"data": {"name": "sinusoid", "content_hash": "cd" * 32}}
    assert compare(run([row()]), run([other_data])).warnings == ("the data of sinusoid differ: scores do not compare",)
    whole = run([row()])
    other = dataclasses.replace(whole, environment=replace(whole.environment, sweep=SweepName("other")))
    assert "the sweeps differ (synthetic; other)" in compare(run([row()]), other).warnings[0]
    unknown = dataclasses.replace(whole, environment=Environment(sweep=SweepName("synthetic")))
    assert any("not known on which machine" in sentence for sentence in compare(run([row()]), unknown).warnings)


def test_files_of_the_users_that_differ_are_said(row):
    def measured(digest, **others):
        return run([row() | {"sources": {"mine.py": digest * 64, "layers.py": "a" * 64, **others}}])

    assert compare(measured("a"), measured("b")).warnings == ("the code differs: mine.py",)
    assert compare(measured("a"), measured("a", **{"more.py": "c" * 64})).warnings == ()
    assert compare(run([row()]), measured("a")).warnings == ()


def test_the_order_of_rows_makes_no_difference(row):
    rows = [row(number, algorithm=name) for name in ("maml", "anil", "fomaml") for number in range(3)]
    new = [faster(made, 1.5) for made in rows]
    straight = compare(run(rows), run(new))
    random.Random(0).shuffle(rows)
    random.Random(1).shuffle(new)
    mixed = compare(run(rows), run(new))
    seen = [[(c.ids, c.time, c.memory, c.statuses) for c in found.cells] for found in (straight, mixed)]
    assert seen[0] == seen[1]
    assert mixed.groups == straight.groups
    assert [change.difference for change in mixed.quality] == [change.difference for change in straight.quality]
