"""Means and their differences: against scipy's tests, by hand, and covering what they say."""

import math

import numpy as np
import pytest
from scipy import stats

from metabench.statistics.means import mean, shift_apart, shift_in_pairs


@pytest.mark.parametrize("n", [3, 8, 30])
def test_in_pairs_it_is_students_test_and_interval(n):
    a, b = np.random.default_rng(n).normal(size=(2, n)).tolist()
    found, expected = shift_in_pairs(a, b), stats.ttest_rel(b, a)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 12), (30, 4)])
def test_apart_it_is_welchs_test_and_interval(n, m):
    generator = np.random.default_rng(n)
    a, b = generator.normal(size=n).tolist(), (1 + 3 * generator.normal(size=m)).tolist()
    found, expected = shift_apart(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


def test_a_difference_of_means_is_the_mean_of_the_differences():
    a, b = [1.0, 2.0, 6.0], [2.0, 7.0, 3.0]
    for found in (shift_in_pairs(a, b), shift_apart(a, b)):
        assert found.value == pytest.approx(mean(b).value - mean(a).value) == pytest.approx(1)


def test_two_numbers_do_not_say_how_numbers_differ():
    for found in (mean([1.0, 2.0]), shift_in_pairs([1.0, 2.0], [2.0, 4.0]), shift_apart([1.0, 2.0], [3.0] * 9)):
        assert (found.freedom, found.half, found.p) == (0, math.inf, None)
    assert mean([1.0, 2.0]).value == 1.5


def test_what_does_not_vary_is_known():
    assert (shift_apart([1.0] * 3, [1.0] * 4).p, shift_apart([1.0] * 3, [2.0] * 4).p) == (1, 0)
    assert (shift_in_pairs([1.0] * 3, [1.0] * 3).half, mean([2.0] * 3).half) == (0, 0)
