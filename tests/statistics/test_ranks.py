"""Tests by ranks: against scipy's, counted by hand, and what so many numbers can tell at all."""

import numpy as np
import pytest
from scipy import stats

from metabench.statistics.ranks import LEVEL, adjusted, can_tell, fewest_rounds, p_of_pairs, p_of_sets, smallest_p


@pytest.mark.parametrize("n", [6, 9, 30])
def test_the_p_of_pairs_is_wilcoxons(n):
    generator = np.random.default_rng(n)
    for _ in range(10):
        differences = generator.standard_t(3, n) + 0.4
        assert p_of_pairs(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 7), (12, 9)])
def test_the_p_of_sets_is_mann_and_whitneys(n, m):
    generator = np.random.default_rng(n)
    for _ in range(10):
        first, second = generator.standard_t(3, n), generator.standard_t(3, m) + 0.8
        expected = stats.mannwhitneyu(second, first, method="exact").pvalue
        assert p_of_sets(first, second) == pytest.approx(expected)


def test_the_smallest_p_by_hand():
    # All of 2^6 = 64 signs give a sum of 0 once, and one of 70 ways to choose four ranks of eight is the lowest.
    assert p_of_pairs([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 64) == smallest_p(6, 6, paired=True)
    apart = p_of_sets([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0])
    assert apart == pytest.approx(2 / 70) == smallest_p(4, 4, paired=False)


def test_what_is_equal_is_no_shift():
    assert p_of_pairs([0.0] * 8) == 1
    assert p_of_sets([1.0] * 5, [1.0] * 5) == 1


@pytest.mark.parametrize(
    ("cells", "paired", "rounds"),
    [
        (1, True, 7),
        (2, True, 8),
        (5, True, 9),
        (6, True, 10),
        (50, True, 13),
        (1, False, 5),
        (2, False, 5),
        (3, False, 6),
    ],
)
def test_the_fewest_rounds_by_hand(cells, paired, rounds):
    # In pairs: cells · 2^(1 - rounds) <= 2 %. Apart: cells · 2 / C(2 rounds, rounds) <= 2 %.
    assert fewest_rounds(cells, paired) == rounds
    assert can_tell(rounds, rounds, cells, paired)
    assert not can_tell(rounds - 1, rounds - 1, cells, paired)


@pytest.mark.parametrize("cells", [1, 7, 50])
def test_one_cell_that_has_the_smallest_p_survives_the_correction_just_where_ranks_can_tell(cells):
    for rounds in range(4, 20):
        smallest = smallest_p(rounds, rounds, paired=True)
        (first, *_) = adjusted([smallest, *[1.0] * (cells - 1)])
        assert (first <= LEVEL) == can_tell(rounds, rounds, cells, paired=True)


def test_what_has_no_p_is_not_counted():
    assert adjusted([None, 0.01, None]) == [None, 0.01, None]
    assert adjusted([None]) == [None]
