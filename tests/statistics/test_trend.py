"""Trends: against chances counted over all orders, and slopes by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau, theilslopes

from metabench.statistics.trend import trend
from recorded import recorded, recorded_once


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_the_chance_is_that_of_all_orders(n):
    def score(order):
        return abs(sum(np.sign(b - a) for a, b in itertools.combinations(order, 2)))

    scores = [score(order) for order in itertools.permutations(range(n))]
    for order in ([*range(n)], [1, 0, *range(2, n)], [*range(1, n), 0]):
        exact = sum(other >= score(order) for other in scores) / len(scores)
        chance = trend([1.0 + value for value in order]).chance
        assert chance == pytest.approx(exact, abs=0.026)
        assert chance >= exact or exact > 0.1  # cautious where it counts


def test_the_change_is_the_median_slope_from_end_to_end():
    assert trend([1.0, 2.0, 4.0, 8.0]).change == pytest.approx(8)
    assert trend([8.0, 4.0, 2.0, 1.0]).change == pytest.approx(1 / 8)
    # slopes by hand, in powers of two: 1, 10/2, -1/3, 9, -1, -11
    assert trend([1.0, 2.0, 2.0**10, 0.5]).change == pytest.approx(2 ** (3 * (1 - 1 / 3) / 2))
    assert trend([3.0]).chance == 1 and trend([3.0, 3.0, 3.0]).change == 1
    assert trend([3.0, 3.0, 3.0, 3.0]).chance == 1


def test_slope_and_chance_beside_scipys():
    generator = np.random.default_rng(0)
    for _ in range(10):
        series = generator.lognormal(0.02 * np.arange(20), 0.1)
        found, order = trend(series), np.arange(20)
        assert found.change == pytest.approx(math.exp(19 * theilslopes(np.log(series), order).slope))
        assert found.chance == pytest.approx(kendalltau(order, series, method="exact").pvalue, abs=0.01)


def test_what_has_no_trend_is_hardly_ever_said_to_have_one():
    generator = np.random.default_rng(0)
    found = [trend(generator.lognormal(0, 0.2, n)).exceeds(1.05) for n in (6, 10, 60) for _ in range(400)]
    assert sum(found) / len(found) < 0.015
    calm = generator.lognormal(0, 0.005, 60)
    calm[[3, 50]] = 100.0  # outliers are no trend
    assert not trend(calm).exceeds(1.05)


def test_a_slow_rise_within_noise_is_found_and_a_small_one_is_not_held_against_the_figure():
    generator = np.random.default_rng(1)
    noise = generator.lognormal(0, 0.05, (200, 80))
    rising = noise * np.linspace(1, 1.2, 80)
    assert np.mean([trend(series).exceeds(1.05) for series in rising]) > 0.98
    tiny = generator.lognormal(0, 0.001, 80) * np.linspace(1, 1.02, 80)
    assert trend(tiny).chance < 1e-6 and not trend(tiny).exceeds(1.05)


def test_recorded_timings():
    for name, lowest, highest in (("rising", 1.5, 3), ("stepping", 1.5, 4), ("falling", 0.2, 0.5)):
        found = trend(recorded_once(name))
        assert found.exceeds(1.05) and lowest < found.change < highest
    assert [trend(seconds).exceeds(1.05) for seconds in recorded("maml").values()] == [False] * 3
    assert not trend(recorded_once("few")).exceeds(1.05)  # six samples that jump about
    assert math.isfinite(trend(recorded_once("few")).change)
