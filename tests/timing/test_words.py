"""What timings are said to mean, from times and peaks that were chosen."""

import math

import pytest

from metabench.record.timing import Mean
from metabench.statistics.intervals import summarise
from metabench.statistics.spread import Spread
from metabench.timing.measuring import REST
from metabench.timing.plain_data import as_json
from metabench.timing.record import Clocked, Marked, OperatorSeen, Recorded
from metabench.timing.result import StepResult, noise_of
from metabench.timing.tables import marked_table, operators_table
from metabench.timing.terminal import as_text
from metabench.timing.words import doubts, noise_text, sentences
from timed_steps import run, step, timings

QUIET = Spread(0.005, 6)


def test_the_ratio_is_paired_within_repetitions_and_the_memory_is_told_beside_it():
    # Each repetition is slower than the one before, for both: paired, the ratio is 1.8 in each.
    a = step("a", [1.8e-3, 3.6e-3, 7.2e-3], 1000, QUIET)
    b = step("b", [1.0e-3, 2.0e-3, 4.0e-3], 800, QUIET)
    (said,) = sentences(timings(a, b))
    assert said == "b: 1.800 [1.785, 1.815] times as fast as a, 20 % less memory."


@pytest.mark.parametrize(
    ("seconds", "peak", "begins", "ends"),
    [
        (2e-3, 2500, "b: takes 2.00", " times as long as a, 2.50 times the memory."),
        (1e-3, 1000, "b: cannot be told apart from a (1.00", " times as fast), the same memory."),
        (0.5e-3, 0, "b: 2.00", " times as fast as a, 0 B of memory against 1000 B."),
        (0.5e-3, 1200, "b: 2.00", " times as fast as a, 20 % more memory."),
        (0.5e-3, None, "b: 2.00", " times as fast as a."),
    ],
)
def test_each_outcome_has_its_sentence(seconds, peak, begins, ends):
    found = timings(step("a", [1e-3] * 3, 1000, QUIET), step("b", [seconds] * 3, peak, QUIET))
    (said,) = sentences(found)
    assert said.startswith(begins) and said.endswith(ends), said


def test_of_several_steps_the_fastest_is_named_last():
    steps = [step(name, [t] * 3, 8, QUIET) for name, t in (("a", 4e-3), ("b", 1e-3), ("c", 1e-3), ("d", 2e-3))]
    said = sentences(timings(*steps))
    assert len(said) == 4
    assert said[-1].startswith("Fastest: b, 4.00") and said[-1].endswith(
        "times as fast as a; c cannot be told apart from it."
    )
    assert sentences(timings(*steps[1:]))[-1] == "Fastest: b; c cannot be told apart from it."


def test_a_single_step_is_told_with_its_figures():
    recorded = Recorded(run("a", 0, 1e-3).time.call, {"backward passes": 0.6e-3, "other operators": 0.4e-3}, [], 7)
    one = StepResult("a", "a", (run("a", 0, 2e-3, 2048, recorded=recorded), run("a", 1, 2e-3)))
    (said,) = sentences(timings(one))
    assert said.startswith("a: 2.00") and said.endswith(" a call, 60 % of it in backward passes, 2.00 KiB of memory.")


def test_a_step_that_failed_costs_the_others_nothing():
    failed = StepResult("b", "b", (run("b", 0, 1e-3, time=None, status="crashed", reason="ValueError: no"),))
    found = timings(step("a", [1e-3] * 3, 8, QUIET), failed, step("c", [2e-3] * 3, 8, QUIET))
    assert [each.status for each in found] == ["ok", "crashed", "ok"]
    assert "b crashed: ValueError: no" in doubts(found)
    assert sentences(found)[-1] == "Fastest: a."
    assert math.isinf(found["b"].seconds) and found["b"].interval is None
    shown = as_text(found)
    assert shown.splitlines()[-1] == "Fastest: a." and "crashed" in shown
    alone = timings(failed)
    assert sentences(alone) == ["b crashed: ValueError: no."]
    assert as_text(alone).count("ValueError: no") == 1 and not noise_text(alone)
    assert as_json(alone)["steps"][0]["seconds"] is None


def test_what_was_measured_before_a_failure_is_kept():
    ended = run("a", 0, 1e-3, status="timeout", reason="ended in phase 'memory' at the time limit of 9 s")
    found = timings(StepResult("a", "a", (ended,)))
    assert found.seconds == pytest.approx(1e-3)
    assert doubts(found) == [
        "a reached the time limit: ended in phase 'memory' at the time limit of 9 s; what was measured before is shown"
    ]


def test_the_noise_is_learnt_from_the_baseline_and_its_twin():
    first = [run("a", i, t) for i, t in enumerate((1.0, 1.0, 1.0))]
    twins = [run("a", i, t) for i, t in enumerate((1.1, 1.0, 0.9))]
    noise, pairs = noise_of([first], twins)
    assert pairs == 3 and noise.deviation > 0.03
    assert noise_of([first]) == (None, 0)
    assert noise_of([first, [], first], twins[:1]) == (None, 0)
    said = noise_text(timings(step("a", [1.0] * 3, noise=noise), step("b", [1.0] * 3, noise=noise)))
    assert said.startswith("Noise floor: two processes that time a differ by up to ") and "from 3 pairs" in said
    here = timings(step("a", [1.0] * 3), in_process=True)
    assert "how processes differ is not known, and no interval includes it" in noise_text(here)


@pytest.mark.parametrize("medians", [(1.0,), (1.0, 1.2)])
@pytest.mark.parametrize("where", [{}, {"in_process": True}])
def test_too_few_repetitions_to_tell_the_noise_have_intervals_that_allow_for_it(medians, where):
    first = [run("a", i, t) for i, t in enumerate(medians)]
    noise, pairs = noise_of([first, [run("b", i, 1.0) for i in range(3)]], [run("a", 0, 1.0)])
    assert pairs == 0 and noise.deviation > 0
    one = step("a", medians, noise=noise)
    assert one.interval.low < min(medians) and max(medians) < one.interval.high
    assert "intervals allow for 10 %" in noise_text(timings(one, pairs=0, **where))


def test_noise_widens_the_interval_of_a_ratio():
    wide = Spread(0.2, 6)
    quiet, noisy = (timings(step("a", [2e-3] * 3, noise=n), step("b", [1e-3] * 3, noise=n)) for n in (QUIET, wide))
    assert quiet.times_as_fast(quiet["b"]).differs
    assert noisy.times_as_fast(noisy["b"]).low < quiet.times_as_fast(quiet["b"]).low


def test_parts_and_operators_of_few_calls_have_no_interval():
    few = Mean(2e-3, 2e-3, 2e-3, 2)
    parts = Marked({"a": few, REST: few}, None)
    recorded = Recorded(run("s", 0, 1e-3).time.call, {}, [OperatorSeen("aten::mm", 1, few)], 1)
    one = StepResult("s", "s", (run("s", 0, 2e-3, marked=parts, recorded=recorded),))
    for table in (marked_table(one), operators_table(one)):
        assert all("2.00 ms [?]" in map(str, row) for row in table.rows), table.rows


def test_calls_that_differ_are_doubted():
    samples = (1e-3,) * 6 + (5e-3,) * 14
    uneven = run("a", 0, 1e-3, time=Clocked(summarise(samples), True, "", 1.0))
    (said,) = doubts(timings(StepResult("a", "a", (uneven,))))
    assert "half of the samples took 2 times as long as the fastest" in said
