"""Profiles of times whose ratios are known."""

import math

import pytest

from metabench.report.sections.performance import profiles, profiles_tables
from metabench.report.sections.target import target_tables
from metabench.statistics.profiles import NEVER
from runs import run


def engines(row, factors, sizes=(5, 25), rounds=3):
    """Rows of engines that take so many times as long as the fastest, without noise; a factor of None runs out."""
    made = []
    for number in range(rounds):
        for size in sizes:
            for engine, factor in factors.items():
                factor = factor[sizes.index(size)] if isinstance(factor, tuple) else factor
                if factor is None:
                    made.append(row(number, "oom", "no memory left", engine=engine, meta_batch=size))
                    continue
                one = row(number, engine=engine, meta_batch=size, measure=["time"], noise=0.0)
                base = 5.0 if engine == "loop" else 1.0  # conftest.py's own factor
                samples = [factor * sample / base for sample in one["time"]["step"]["samples"]]
                one["time"]["step"]["samples"] = samples
                made.append(one)
    return made


def test_shares_and_areas_by_hand(row):
    (profile,) = profiles(run(engines(row, {"vmap": 1.0, "loop": (10.0, 2.0)})))
    fast, slow = profile.curves
    assert (fast.name, fast.within(1.0), fast.area(100).value) == ("vmap", 1.0, pytest.approx(1.0))
    assert [slow.within(factor) for factor in (1.0, 2.01, 9.9, 10.1)] == [0.0, 0.5, 0.5, 1.0]
    by_hand = (1 - math.log(10) / math.log(100) + 1 - math.log(2) / math.log(100)) / 2
    area = slow.area(100)
    assert area.value == pytest.approx(by_hand) and area.low == pytest.approx(area.high)
    assert len(profile.settings) == 2 and profile.replicate == "repetition"


def test_who_fails_is_never_within(row):
    (profile,) = profiles(run(engines(row, {"vmap": 1.0, "loop": 3.0, "compile": (2.0, None)})))
    broken = next(curve for curve in profile.curves if curve.name == "compile")
    assert broken.within(1e9) == 0.5
    assert broken.area(100).value == pytest.approx((1 - math.log(2) / math.log(100)) / 2)
    (table,) = profiles_tables(run(engines(row, {"vmap": 1.0, "compile": (2.0, None)}))).tables
    assert {line[0]: line[-1] for line in table.rows} == {"vmap": "0 %", "compile": "50 %"}


def test_only_what_all_were_tried_in_is_compared(row):
    rows = engines(row, {"vmap": 1.0, "loop": 4.0})
    rows += engines(row, {"jax": 0.5}, sizes=(25,))
    (profile,) = profiles(run(rows))
    assert {curve.name for curve in profile.curves} == {"vmap", "loop"} and profile.left_out == ("jax",)
    (table,) = profiles_tables(run(rows)).tables
    assert "Tried in too few of the settings, or with too few repetitions of them, and left out: jax." in table.notes


def test_one_setting_is_no_profile(row):
    assert profiles(run(engines(row, {"vmap": 1.0, "loop": 4.0}, sizes=(25,)))) == []
    assert profiles(run([row(), row(0, "oom", "none", engine="loop")])) == []


def test_few_rounds_have_no_interval(row):
    (table,) = profiles_tables(run(engines(row, {"vmap": 1.0, "loop": 10.0}, rounds=2))).tables
    assert [line[1] for line in table.rows] == ["1.00", "0.500"]
    assert any(note.startswith("No intervals") for note in table.notes)


def trained(row, name, seed, seconds, end, **axes):
    """The row of a training whose error falls from 4 to `end`; MAML's end at 1 is what sets the target."""
    made = row(algorithm=name, seed=seed, measure=["quality"], **axes)
    points = [(0, 0.0, 4.0), (100, seconds, end)]
    made["quality"]["curve"] = [{"iteration": i, "seconds": s, "value": v} for i, s, v in points]
    return made


def test_the_profile_and_the_times_to_target_say_the_same(row):
    """One setting has one training seed, the other three, of which one of FOMAML reaches the target."""
    rows = [trained(row, name, 0, 5.0, 1.0, shots=5) for name in ("maml", "fomaml")]
    rows += [trained(row, "maml", seed, 10.0, 1.0, shots=10) for seed in range(3)]
    rows += [trained(row, "fomaml", seed, 5.0, 3.0 if seed else 1.0, shots=10) for seed in range(3)]
    found = run(rows)
    reached = {
        (line[0], table.title.split(",")[1]): line[3] for table in target_tables(found).tables for line in table.rows
    }
    assert reached == {
        ("maml", " 5 points"): "1 of 1",
        ("fomaml", " 5 points"): "1 of 1",
        ("maml", " 10 points"): "3 of 3",
        ("fomaml", " 10 points"): "1 of 3",
    }
    (profile,) = profiles(found)
    curves = {curve.name: curve for curve in profile.curves}
    assert curves["maml"].never == 0
    assert curves["fomaml"].never == pytest.approx((0 + 2 / 3) / 2)
    assert (profile.many, profile.told) == ("1 to 3 seeds", False)
    (table,) = profiles_tables(found).tables
    assert {line[0]: line[-1] for line in table.rows} == {"maml": "0 %", "fomaml": "33 %"}
    assert [note[-9:] for note in table.notes if note.startswith("setting")] == [" (1 seed)", "(3 seeds)"]


def test_an_algorithm_of_fewer_seeds_than_others_is_left_out_and_named(row):
    rows = [
        trained(row, name, seed, 5.0, 1.0, shots=shots)
        for shots in (5, 10)
        for name in ("maml", "fomaml", "anil")
        for seed in range(1 if name == "anil" else 3)
    ]
    (table,) = profiles_tables(run(rows)).tables
    assert {line[0] for line in table.rows} == {"maml", "fomaml"}
    assert "Tried in too few of the settings, or with too few seeds of them, and left out: anil." in table.notes


def test_of_two_trainings_of_an_algorithm_the_one_that_more_seeds_reach_the_target_with_counts(row):
    rows = []
    for shots in (5, 10):
        rows += [trained(row, "maml", seed, 10.0, 1.0, shots=shots) for seed in range(3)]
        rows += [trained(row, "anil", seed, 5.0, 3.0 if seed else 1.0, shots=shots) for seed in range(3)]
        rows += [trained(row, "anil", seed, 8.0, 1.0, shots=shots, meta_batch=5) for seed in range(3)]
    (profile,) = profiles(run(rows))
    assert {curve.name: curve.never for curve in profile.curves} == {"anil": 0, "maml": 0}


def test_algorithms_by_their_time_to_target(row):
    rows = [
        trained(row, name, seed, seconds, end, shots=shots)
        for shots in (5, 10)
        for name, seconds, end in (("maml", 10.0, 1.0), ("anil", 5.0, 1.0), ("reptile", 5.0, 3.0))
        for seed in range(3)
    ]
    (profile,) = profiles(run(rows))
    assert [curve.name for curve in profile.curves] == ["anil", "maml", "reptile"]
    assert (profile.kind, len(profile.settings)) == ("algorithm", 2)
    anil, maml, reptile = profile.curves
    assert anil.within(1.0) == 1.0 and maml.within(1.99) == 0.0 and maml.within(2.01) == 1.0
    assert reptile.every == [NEVER] * 6


@pytest.mark.parametrize(("engine", "marked"), [("vmap", {"vmap", "loop"}), ("loop", {"loop"})])
def test_shares_that_stand_on_a_disturbed_time_are_marked(row, engine, marked):
    """All are divided by the best."""
    rows = engines(row, {"vmap": 1.0, "loop": 4.0})
    for made in rows:
        if made["cell"]["engine"] == engine:
            made["time"]["disturbed"] = {"reason": "others were busy", "factor": 3.0}
    (table,) = profiles_tables(run(rows)).tables
    assert {line[0] for line in table.rows if all(text.endswith(" (disturbed)") for text in line[1:-1])} == marked
    assert any(note.startswith("(disturbed): ") for note in table.notes)


def test_what_all_settings_share_is_said_once(row):
    (table,) = profiles_tables(run(engines(row, {"vmap": 1.0, "loop": 4.0}))).tables
    common = "maml, sinusoid, 10 points, mlp-40x2, query 10, inner steps 1, cpu, float32, threads 2"
    assert f"All settings: {common}." in table.notes
    assert [note for note in table.notes if note.startswith("setting")] == [
        "setting: meta-batch 5",
        "setting: meta-batch 25",
    ]
