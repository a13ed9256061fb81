"""The noise floor against hand-computed values and simulated runs; what it hides; drift."""

import json
import math

import numpy as np
import pytest
from msgspec.structs import replace

from metabench.record.reading import MEASUREMENTS
from metabench.report.document import as_markdown, document
from metabench.report.noise import NoiseFloor, differs, drift, drift_warnings, floor_text, noise_floor, ratio_text
from metabench.report.render.tables import Table
from metabench.report.results import read_run
from metabench.statistics.ratios import Ratio, ratio_interval
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


LAWS = {
    "normal": lambda g, n: g.normal(0, 0.05, n),
    "skewed": lambda g, n: g.exponential(0.05, n),
    "heavy-tailed": lambda g, n: 0.03 * g.standard_t(3, n),
}
"""How the logarithm of a time differs from process to process."""


def timed(rows, logs):
    """The rows with times whose logarithms are these."""
    for row, log in zip(rows, logs, strict=True):
        step = replace(row.time.step, **dict.fromkeys(("median", "low", "high"), math.exp(log)))
        yield replace(row, time=replace(row.time, step=step))


@pytest.mark.parametrize(("law", "number", "least"), [*(("normal", n, 0.93) for n in (2, 5)), ("skewed", 5, 0.9)])
def test_the_next_pair_stays_below_the_floor_in_95_of_100_runs(pairs, law, number, least):
    generator = np.random.default_rng(3)
    below = 0
    rows = records(pairs(*[(1.0, 1.0)] * (number + 1)))
    for _ in range(2000):
        found = list(timed(rows, LAWS[law](generator, len(rows))))
        a, b = (row.time.step.median for row in found[-2:])
        below += noise_floor(found[:-2]).hides(a / b, 1)
    assert least <= below / 2000 <= 0.97


@pytest.mark.parametrize("law", LAWS)
def test_equal_cells_are_hardly_ever_called_different(pairs, law):
    """Of 2 000 simulated ratios of equal cells over three rounds fewer than one in a hundred are called a difference;
    the interval alone would call three to five in a hundred so."""
    generator = np.random.default_rng(4)
    rows = records(pairs(*[(1.0, 1.0)] * 5))
    called = alone = 0
    for _ in range(2000):
        found = list(timed(rows, LAWS[law](generator, len(rows))))
        sides = ({number: [math.exp(log)] for number, log in enumerate(LAWS[law](generator, 3))} for _ in "ab")
        ratio = ratio_interval(*sides)
        called += differs(ratio, noise_floor(found))
        alone += differs(ratio, None)
    assert called < 20 < alone < 140


def test_what_is_called_a_difference():
    floor = NoiseFloor(1.1, 5)
    assert not differs(Ratio(1.2, 0.9, 1.5, 1), floor)  # the interval holds 1
    assert not differs(Ratio(1.09, 1.08, 1.1, 1), floor) and not differs(Ratio(0.92, 0.91, 0.93, 1), floor)
    assert differs(Ratio(1.11, 1.08, 1.2, 1), floor) and differs(Ratio(0.9, 0.88, 0.92, 1), floor)
    assert differs(Ratio(1.09, 1.08, 1.1, 3), floor)  # 1.1 to the power of 1/√3 is 1.057
    assert differs(Ratio(1.09, 1.08, 1.1, 1), None)
    assert ratio_text(Ratio(1.09, 1.07, 1.11, 1), floor) == "1.09 [1.07, 1.11] ≈"
    assert ratio_text(Ratio(1.09, 1.07, 1.11, 1), None) == "1.09 [1.07, 1.11]"


def test_the_floor_in_words(pairs):
    assert floor_text([], 1) == "not measured"
    text = floor_text(records(pairs((1.0, 1.0), (1.0, 1.02))), 1)
    assert (
        text
        == "two processes that time the same cell differ by up to a factor of 1.062 (95 %; from 2 pairs of maml/vmap)"
    )
    assert ", and by up to 1.035 in the mean over 3 rounds (" in floor_text(records(pairs((1.0, 1.0), (1.0, 1.02))), 3)
    assert "a factor of 1.0062 " in floor_text(records(pairs((1.0, 1.0), (1.0, 1.00203))), 1)
    assert "a factor of more than 10 " in floor_text(records(pairs((1.0, 5.0), (1.0, 1.0))), 1)
    assert "a factor of 1 " in floor_text(records(pairs((1.0, 1.0), (1.0, 1.0))), 1)
    failed = pairs((1.0, 1.0))[0] | {"status": "crashed", "time": None, "reason": "it fell"}
    assert floor_text(records([failed]), 1) == "not measured: it fell"


def test_a_machine_that_gets_slower_or_faster_is_warned_of(pairs):
    slower = [(1 + 0.05 * i, 1 + 0.05 * i + 0.01) for i in range(5)]
    assert drift(records(pairs(*slower))).change == pytest.approx(1.21, abs=0.03)
    (sentence,) = drift_warnings(records(pairs(*slower)))
    assert sentence.startswith("the machine got slower by 2") and "ratios within a round hold" in sentence
    assert "the machine got faster by 2" in drift_warnings(records(pairs(*reversed(slower))))[0]
    assert drift_warnings(records(pairs(*CALM))) == []
    drifting = [(a * (1 + 0.002 * i), b) for i, (a, b) in enumerate(CALM)]
    assert drift_warnings(records(pairs(*drifting))) == []  # within the noise
    assert drift_warnings([]) == []


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
    rows += [timed(0, "loop", seconds, name) for name, seconds in (("fomaml", 0.97), ("anil", 0.5))]
    with_floor, without = ([*rows, *pairs(*CALM)], rows)
    shown = as_markdown(document(read_run(run_of(with_floor))))
    assert "- **noise floor**: two processes that time the same cell differ by up to a factor of 1.0" in shown
    assert "from 5 pairs of maml/vmap" in shown

    for marked, rows in ((True, with_floor), (False, without)):
        by_title = {table.title.partition(":")[0]: table for table in tables(run_of(rows))}
        assert ("Noise floor" in by_title) == marked
        engines = {line[1]: line[-1] for line in by_title["Engines against loop"].rows}
        assert {name: "≈" in text for name, text in engines.items() if name != "loop"} == {
            "vmap": marked, "native": False, "compile": False, "jax": False, "higher": False
        }  # fmt: skip
        peers = {line[1]: line[-1] for line in by_title["The fastest engine against each peer"].rows}
        assert peers["jax 0.1"].endswith(" ≈ (native ≈ compile)" if marked else " (native)")
        assert peers["higher 1"].endswith("] (native ≈ compile)" if marked else "] (native)")
        cost = {
            line[0]: line[3]
            for table in tables(run_of(rows))
            if table.title.startswith("Cost") and "engine loop" in table.title
            for line in table.rows
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
                timed = column.startswith("time ÷") or (column == "growth" and kind == "Time")
                if (timed or (kind == "Engines" and column != "area" and "ms" not in text)) and "[" in text:
                    seen.add(kind)
                    assert "≈" in text, (table.title, column, text)
                else:
                    assert "≈" not in text
    assert seen == {"Cost", "Cost:", "Techniques:", "Time", "Engines"}


def test_a_run_that_times_nothing_has_no_floor_to_speak_of(run_of, row):
    assert "noise floor" not in dict(document(read_run(run_of([row(measure=["quality"])]))).facts)
    assert dict(document(read_run(run_of([row()]))).facts)["noise floor"] == "not measured"
