"""The noise floor against hand-computed values; what the tables say of it; drift."""

import json
import math

import numpy as np
import pytest
from msgspec.structs import replace

from metabench.record.reading import MEASUREMENTS
from metabench.report.document import as_markdown, document
from metabench.report.noise import NoiseFloor, drift, floor_text, noise_floor, noise_spread, ratio_text
from metabench.report.render.tables import Table
from metabench.report.results import read_run
from metabench.statistics.ratios import Ratio
from metabench.statistics.spread import Spread
from runs import records

CALM = ((1.0, 1.01), (1.02, 1.0), (1.0, 1.01), (1.01, 1.0), (1.0, 1.02))


def tables(folder) -> list[Table]:
    return [table for section in document(read_run(folder)).sections for table in section.tables]


def test_the_floor_by_hand(pairs):
    # logarithms of the ratios ln 1.1, -ln 1.2 and 0: mean square 0.0141080, t(3) = 3.18245, so e^0.378000
    floor = noise_floor(records(pairs((1.1, 1.0), (1.0, 1.2), (1.0, 1.0))))
    assert floor.pairs == 3
    assert floor.ratio == pytest.approx(math.exp(3.182446 * math.sqrt((math.log(1.1) ** 2 + math.log(1.2) ** 2) / 3)))
    assert floor.ratio == pytest.approx(1.4594, abs=1e-3)
    assert floor.over(1) == floor.ratio
    assert floor.over(4) == pytest.approx(math.sqrt(floor.ratio))
    assert floor == noise_floor(
        records(pairs((1.0, 1.1), (1.2, 1.0), (1.0, 1.0)))
    )  # the order of the sides does not matter


def test_what_is_no_whole_pair_counts_for_nothing(pairs):
    rows = records(pairs(*CALM))
    assert noise_floor([]) is None and noise_floor(rows[:2]) is None and noise_floor(rows[:3]) is None
    assert noise_floor(rows[:4]).pairs == 2
    rows[1] = replace(rows[1], status="timeout", time=None)
    assert noise_floor(rows) == noise_floor(rows[2:])
    assert noise_floor(records(pairs((1.0, 1.0), (1.0, 1.0)))) == NoiseFloor(1.0, 2)


def timed(rows, logs):
    """The rows with times whose logarithms are these."""
    for row, log in zip(rows, logs, strict=True):
        step = replace(row.time.step, **dict.fromkeys(("median", "low", "high"), math.exp(log)))
        yield replace(row, time=replace(row.time, step=step))


@pytest.mark.parametrize(("skewed", "number", "least"), [(False, 2, 0.93), (False, 5, 0.93), (True, 5, 0.9)])
def test_the_next_pair_stays_below_the_floor_in_95_of_100_runs(pairs, skewed, number, least):
    generator = np.random.default_rng(3)
    draw = generator.exponential if skewed else lambda scale, size: generator.normal(0, scale, size)
    below = 0
    rows = records(pairs(*[(1.0, 1.0)] * (number + 1)))
    for _ in range(2000):
        found = list(timed(rows, draw(0.05, len(rows))))
        a, b = (row.time.step.median for row in found[-2:])
        below += max(a / b, b / a) <= noise_floor(found[:-2]).ratio
    assert least <= below / 2000 <= 0.97


def test_a_mark_is_read_off_the_interval_that_is_shown():
    assert ratio_text(Ratio(1.2, 0.9, 1.5, 1)) == "1.2 [0.9, 1.5] ≈"
    assert ratio_text(Ratio(1.2, 0.0, math.inf, 1)) == "1.20 [?] ≈"
    assert ratio_text(Ratio(1.09, 1.07, 1.11, 1)) == "1.09 [1.07, 1.11]"
    assert ratio_text(Ratio(0.92, 0.91, 0.93, 1)) == "0.920 [0.910, 0.930]"
    assert ratio_text(Ratio(1.09, 1.07, 1.11, 1), drift=1.08) == "1.09 [1.07, 1.11] ↕"
    assert ratio_text(Ratio(0.92, 0.91, 0.93, 1), drift=1.08) == "0.920 [0.910, 0.930] ↕"
    assert ratio_text(Ratio(1.09, 1.07, 1.11, 1), drift=1.06) == "1.09 [1.07, 1.11]"


@pytest.mark.parametrize(
    ("ends", "drift", "doubt"),
    [
        ((1.2, 0.9, 1.5), 1.0, "noise"),
        ((0.85, 0.7, 1.1), 1.0, "noise"),
        ((1.05, 0.8, 1.4), 1.0, ""),  # would be no difference worth telling, however quiet the machine
        ((1.2, 1.1, 1.3), 1.0, ""),
        ((1.2, 1.1, 1.3), 1.15, "drift"),
        ((1.2, 0.9, 1.3), 1.15, "noise"),
    ],
)
def test_what_keeps_a_comparison_from_a_conclusion(ends, drift, doubt):
    assert ratio_text(Ratio(*ends, 3), drift).doubt == (ratio_text(Ratio(*ends, 3), drift) + " †").doubt == doubt


def test_the_spread_of_processes_by_hand(pairs):
    # logarithms 0 0, 2 0, 1 3: within, squares of differences 0, 4, 4, half their mean 4/3; means 0, 1, 2, so between
    # is 2 · 1; the variance is (4/3 + 2) / 2, with (10/3)² / (2²/2 + (4/3)²/3) degrees of freedom
    rows = list(timed(records(pairs(*[(1.0, 1.0)] * 3)), [0, 0, 2, 0, 1, 3]))
    spread = noise_spread(rows)
    assert spread.deviation == pytest.approx(math.sqrt(5 / 3))
    assert spread.freedom == pytest.approx((100 / 9) / (2 + 16 / 27))
    assert noise_spread(rows[:3]) is None and noise_spread([]) is None
    assert noise_spread(records(pairs((1.0, 1.0), (1.0, 1.0)))).half == 0


def floor_of(rows):
    return floor_text(rows, noise_spread(rows))


def test_the_floor_in_words(pairs):
    assert floor_of([]) == "not measured; no interval includes it"
    rows = records(pairs((1.0, 1.0), (1.0, 1.02)))
    begins = "two processes that time the same configuration differ by up to a factor of "
    assert floor_of(rows).startswith(f"{begins}1.049 (from 2 pairs of maml/vmap); 95 %, and every interval of a time")
    rising = floor_of(records(pairs((1.0, 1.0), (2.0, 2.04))))
    assert " anywhere in the run (by the pairs), and of 1.062 right after each other (from 2 pairs of maml/" in rising
    assert rising.endswith("; 95 %, and every interval of a time includes the former")
    assert f"{begins}2.00 anywhere in the run (by the repetitions of all configurations)" in floor_text(
        rows, Spread(0.25, 1e6)
    )
    assert "a factor of 1.0049 " in floor_of(records(pairs((1.0, 1.0), (1.0, 1.00203))))
    assert "a factor of more than 10 " in floor_of(records(pairs((1.0, 5.0), (1.0, 1.0))))
    assert "a factor of 1 " in floor_of(records(pairs((1.0, 1.0), (1.0, 1.0))))
    failed = pairs((1.0, 1.0))[0] | {"status": "crashed", "time": None, "reason": "it fell"}
    assert floor_of(records([failed])) == "not measured: it fell; no interval includes it"


def test_a_machine_that_gets_slower_or_faster_is_told_beside_the_floor(pairs):
    slower = [(1 + 0.05 * i, 1 + 0.05 * i + 0.01) for i in range(5)]
    assert drift(records(pairs(*slower))).change == pytest.approx(1.21, abs=0.03)
    assert "; the machine got slower by 2" in floor_of(records(pairs(*slower)))
    assert "; the machine got faster by 2" in floor_of(records(pairs(*reversed(slower))))
    assert "machine got" not in floor_of(records(pairs(*CALM)))
    drifting = [(a * (1 + 0.002 * i), b) for i, (a, b) in enumerate(CALM)]
    assert "machine got" not in floor_of(records(pairs(*drifting)))  # within the noise


def test_the_tables_bear_the_floor_and_mark_what_is_below_it(run_of, row, pairs):
    def timed(number, engine, seconds, algorithm="maml", **parts):
        made = row(number, engine=engine, algorithm=algorithm, measure=["time"])
        samples = [seconds * (1 + 0.001 * i) for i in range(9)]
        summary = {"samples": samples, "low": samples[1], "median": samples[4], "high": samples[7]}
        made["time"] |= {"step": made["time"]["step"] | summary}
        return made | parts

    cells = [("loop", 1.00, {}), ("vmap", 0.98, {}), ("native", 0.5, {}), ("compile", 0.505, {})]
    cells += [("jax", 0.51, {"library": "jax 0.1"}), ("higher", 2.0, {"library": "higher 1"})]
    rows = [timed(0, engine, seconds, **parts) for engine, seconds, parts in cells]
    rows += [timed(0, "loop", seconds, name) for name, seconds in (("fomaml", 0.98), ("anil", 0.5))]
    with_floor, without = ([*rows, *pairs(*CALM)], rows)
    shown = as_markdown(document(read_run(run_of(with_floor))))
    assert (
        "- **run-to-run noise**: two processes that time the same configuration differ by up to a factor of 1.0"
        in shown
    )
    assert "from 5 pairs of maml/vmap" in shown

    for marked, rows in ((True, with_floor), (False, without)):
        by_title = {table.title.partition(":")[0]: table for table in tables(run_of(rows))}
        assert ("Noise floor" in by_title) == marked
        against = by_title["Engines against loop"]
        engines = {line[1]: line[against.columns.index("speed-up")] for line in against.rows}
        assert {name: "≈" in text for name, text in engines.items() if name != "loop"} == {
            "vmap": marked, "native": False, "compile": False, "jax": False, "higher": False
        }  # fmt: skip
        peers = {line[1]: line[-1] for line in by_title["The fastest engine against each peer"].rows}
        assert peers["jax 0.1"].endswith(" ≈ (native ≈ compile)" if marked else " (native)")
        assert peers["higher 1"].endswith("] (native ≈ compile)" if marked else "] (native)")
        cost = {
            line[0]: line[4]
            for table in tables(run_of(rows))
            if table.title.startswith("Cost")
            for line in table.rows
            if line[1] == "loop"
        }
        assert {name: "≈" in text for name, text in cost.items()} == {"maml": False, "fomaml": marked, "anil": False}
        for name in ("Engines against loop", "The fastest engine against each peer"):
            assert any("≈ no difference" in note for note in by_title[name].notes) == marked
    table = next(table for table in tables(run_of(with_floor)) if table.title.startswith("Noise floor"))
    assert table.title.startswith("Noise floor: maml, sinusoid, 10 points, mlp-40x2, engine vmap")
    assert [(line[0], line[-1]) for line in table.rows] == [
        *(("0", "0.990"), ("1", "1.02"), ("2", "0.990"), ("3", "1.01"), ("4", "0.980"))
    ]


def test_every_ratio_of_times_in_every_table_heeds_the_floor(run_of, row, pairs, synthetic):
    """On a machine on which nothing can be told, nothing is."""
    rows = [*map(json.loads, (synthetic / MEASUREMENTS).open()), *(row(number, first_order=1.0) for number in range(3))]
    seen = set()
    for table in tables(run_of([*rows, *pairs((1.0, 1e9), (1.0, 1.0))])):
        kind = table.title.partition(" ")[0]
        for line in table.rows:
            for column, text in zip(table.columns, line, strict=True):
                timed = column.startswith("relative time") or (column == "growth" and kind == "Time")
                if (timed or (kind == "Engines" and column != "area" and "ms" not in text)) and "[" in text:
                    seen.add(kind)
                    assert "≈" in text, (table.title, column, text)
                else:
                    assert "≈" not in text
    assert seen == {"Cost", "Cost:", "Techniques:", "Time", "Engines"}


LEVELS = {"steady": [0.0] * 24, "rising": [0.015 * i for i in range(24)]}


def warned(run_of, row, pairs, ratio, level="steady", rounds=3, spread=0.0):
    """The warnings, but for that of the data, of a run whose rounds and noise pairs differ by `spread`."""
    rows = []
    for number in range(rounds):
        for algorithm, seconds in (("maml", 1.0), ("fomaml", ratio)):
            made = row(number, algorithm=algorithm, measure=["time"])
            away = math.exp(spread * (-1) ** number * (1 if algorithm == "maml" else -1))
            samples = [seconds * away * math.exp(log) for log in LEVELS[level]]
            summary = {
                "samples": samples,
                "low": min(samples),
                "median": float(np.median(samples)),
                "high": max(samples),
            }
            made["time"] |= {"step": made["time"]["step"] | summary}
            rows.append(made)
    noise = [(math.exp(spread), 1.0), (1.0, math.exp(spread))] * 2
    return document(read_run(run_of([*rows, *pairs(*noise)]))).warnings[1:]


def test_a_warning_appears_where_noise_changes_a_conclusion_and_not_otherwise(run_of, row, pairs):
    assert warned(run_of, row, pairs, 0.8) == ()
    (sentence,) = warned(run_of, row, pairs, 0.8, spread=0.15)
    assert sentence.startswith("noise hides a difference of more than 10 % in 1 comparison (close other programs")
    assert sentence.endswith(": fomaml, relative time (maml = 1) (Cost: sinusoid).")
    assert warned(run_of, row, pairs, 0.2, spread=0.15) == ()  # as noisy, and told apart all the same
    assert warned(run_of, row, pairs, 1.02, spread=0.15) == ()  # no difference that a quiet machine would show
    assert warned(run_of, row, pairs, 0.8, rounds=1) == ()


def test_a_warning_appears_where_a_drift_changes_a_conclusion_and_not_otherwise(run_of, row, pairs):
    (sentence,) = warned(run_of, row, pairs, 0.8, "rising")
    assert sentence.startswith("a drift while it was measured could explain the difference in 1 comparison")
    assert warned(run_of, row, pairs, 0.2, "rising") == ()


def test_a_run_that_times_nothing_has_no_floor_to_speak_of(run_of, row):
    assert "run-to-run noise" not in dict(document(read_run(run_of([row(measure=["quality"])]))).facts)
    assert dict(document(read_run(run_of([row()]))).facts)["run-to-run noise"].startswith("not measured; no interval")
