"""Spreads against values computed by hand."""

import math

import numpy as np
import pytest

from metabench.statistics.intervals import Interval, summarise
from metabench.statistics.ratios import ratio_interval, step_interval, time_interval
from metabench.statistics.spread import Spread, noise_of, spread_of_pairs, spread_of_rounds, student, typical_spread

SIX = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_two_estimates_are_pooled_by_their_degrees_of_freedom():
    pooled = Spread(0.2, 4).with_own(Spread(0.1, 2))
    assert pooled.deviation == pytest.approx(math.sqrt((4 * 0.04 + 2 * 0.01) / 6)) and pooled.freedom == 6
    assert Spread(0.2, 4).half == pytest.approx(2.776445 * 0.2)
    # F(2, 4) is 6.94 at 95 %: a variance seven times as large stands alone
    assert Spread(0.1, 4).with_own(Spread(0.1 * math.sqrt(7), 2)) == Spread(0.1 * math.sqrt(7), 2)
    assert Spread(0.1, 4).with_own(Spread(0.1 * math.sqrt(6.9), 2)).freedom == 6
    assert Spread(0.0, 9).with_own(Spread(0.0, 2)) == Spread(0.0, 11)


def test_pairs_that_agree_have_no_spread():
    assert spread_of_pairs([(0.0, 0.0), (0.0, 0.0)]) == Spread(0.0, 3)


def test_what_changes_between_pairs_counts():
    """Each pair agrees within itself, and the machine changed from one to the next."""
    spread = spread_of_pairs([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)])
    assert (spread.deviation, spread.freedom) == (pytest.approx(1), pytest.approx(2))


def test_a_typical_cell_is_not_moved_by_a_disturbed_one():
    calm = np.random.default_rng(0).normal(0, 0.1, (40, 3))
    found = typical_spread(calm)
    assert found.freedom == 40 and found.deviation == pytest.approx(0.1, rel=0.25)
    disturbed = typical_spread([*calm[1:], [0.0, 4.0, 0.0]])
    assert disturbed.deviation == pytest.approx(found.deviation, rel=0.1)
    assert typical_spread(calm[:4]) is None and typical_spread([[0.0]] * 9) is None


def test_cells_count_where_they_surely_differ_by_more_than_the_pairs():
    pairs = Spread(0.1, 9)
    assert noise_of(pairs, None) == noise_of(pairs, Spread(0.12, 40)) == noise_of(pairs, Spread(0.01, 40)) == pairs
    assert noise_of(pairs, Spread(0.3, 40)) == Spread(0.3, 40)


def test_the_interval_of_a_ratio_by_hand():
    noise = Spread(0.05, 9.0)
    one = ratio_interval({0: [2.0] * 6}, {0: SIX}, noise=noise)  # t(9) √2 0.05, since both sides are processes
    half = student(9) * math.sqrt(2) * 0.05
    assert (one.low, one.high) == (pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)))
    logs = [0.1, 0.0, 0.2]
    three = ratio_interval(
        {i: [math.exp(log)] for i, log in enumerate(logs)}, {i: [1.0] for i in range(3)}, noise=noise
    )
    pooled = math.sqrt((9 * 2 * 0.05**2 + 2 * 0.01) / 11)
    assert math.log(three.high) == pytest.approx(0.1 + student(11) * pooled / math.sqrt(3))
    two = ratio_interval({0: [1.0], 1: [1.0]}, {0: [1.0], 1: [1.0]}, noise=noise)
    assert math.log(two.high) == pytest.approx(student(10) * math.sqrt(9 * 2 * 0.05**2 / 10) / math.sqrt(2))


def test_no_interval_is_narrower_for_luck():
    """Three rounds that agree by chance: Student's interval alone would have no width."""
    alike = {number: [1.0] for number in range(3)}
    assert ratio_interval(alike, alike).high == 1
    assert ratio_interval(alike, alike, noise=Spread(0.05, 9.0)).high > 1.05


def test_the_interval_of_one_process_adds_its_samples_in_quadrature():
    noise, summary = Spread(0.05, 9.0), summarise([0.9, 0.95, 1.0, 1.0, 1.1, 1.2])
    found = step_interval(summary, noise)
    half = student(9) * 0.05
    assert math.log(found.high) == pytest.approx(math.hypot(math.log(1.2), half))
    assert math.log(found.low) == pytest.approx(-math.hypot(math.log(0.9), half))
    assert step_interval(summary) == Interval(1.0, 0.9, 1.2)
    assert not step_interval(summarise([1.0, 2.0]), noise).known
    assert time_interval({0: SIX}, noise).high == pytest.approx(math.exp(half))


def test_an_interval_is_noisy_by_its_width():
    assert Interval(1.0, 0.89, 1.12).noisy and not Interval(1.0, 0.91, 1.08).noisy
    assert not Interval(1.0, 0.0, math.inf).noisy  # [?] says it
    assert spread_of_rounds([0.0, 1.0]) == Spread(math.sqrt(0.5), 1)
