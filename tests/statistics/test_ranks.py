"""Shifts by ranks: against scipy's tests, counted by hand, and covering what they say."""

import itertools

import numpy as np
import pytest
from scipy import stats

from metabench.statistics.ranks import shift_of_pairs, shift_of_sets, smallest_p


@pytest.mark.parametrize("n", [6, 9, 30])
def test_the_p_of_pairs_is_wilcoxons(n):
    generator = np.random.default_rng(n)
    for _ in range(10):
        differences = generator.standard_t(3, n) + 0.4
        assert shift_of_pairs(differences).p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 7), (12, 9)])
def test_the_p_of_sets_is_mann_and_whitneys(n, m):
    generator = np.random.default_rng(n)
    for _ in range(10):
        first, second = generator.standard_t(3, n), generator.standard_t(3, m) + 0.8
        expected = stats.mannwhitneyu(second, first, method="exact").pvalue
        assert shift_of_sets(first, second).p == pytest.approx(expected)


def test_six_pairs_by_hand():
    # All of 2^6 = 64 signs give a sum of 0 once: p = 2/64, and the interval is the range (k = 1: 1/64 <= 2.5 % < 2/64).
    found = shift_of_pairs([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (found.value, found.low, found.high) == (3.5, 1.0, 6.0)
    assert found.p == pytest.approx(2 / 64) == smallest_p(6, 6, paired=True)


def test_four_against_four_by_hand():
    # One of 70 ways to choose four ranks of eight is the lowest: p = 2/70; 1/70 <= 2.5 % < 2/70, so k = 1.
    found = shift_of_sets([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0])
    assert (found.value, found.low, found.high) == (10.0, 7.0, 13.0)
    assert found.p == pytest.approx(2 / 70) == smallest_p(4, 4, paired=False)


def test_the_interval_leaves_out_as_many_differences_as_all_signs_say():
    """Of the 2^9 choices of signs, how many give each sum of ranks: 2.5 % of them at most are left out at each end."""
    sums = [sum(rank for rank in chosen) for size in range(10) for chosen in itertools.combinations(range(1, 10), size)]
    outside = max(k for k in range(1, 10) if sum(each < k for each in sums) <= 0.025 * 2**9)
    differences = np.random.default_rng(0).normal(size=9)
    averages = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(differences, 2))
    found = shift_of_pairs(differences)
    assert (found.low, found.high) == pytest.approx((averages[outside - 1], averages[-outside]))


def test_what_is_equal_is_no_shift():
    assert shift_of_pairs([0.0] * 8).p == 1
    assert shift_of_sets([1.0] * 5, [1.0] * 5).p == 1
    assert (shift_of_pairs([0.0] * 8).low, shift_of_pairs([0.0] * 8).high) == (0, 0)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_what_they_say_whatever_the_law(paired):
    """Heavy tails, 12 numbers: the exact coverage is just above 95 %, and four deviations of 400 runs are 4.4 %."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        a, b = generator.standard_t(2, (2, 12))
        found = shift_of_pairs(b + 1 - a) if paired else shift_of_sets(a, b + 1)
        covered += found.low <= 1 <= found.high
    assert covered / 400 > 0.91
