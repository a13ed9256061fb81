"""How far two sets of numbers are shifted: estimate, 95 % interval and test, all three of the same ranks.

No law is assumed of the numbers. Both statistics are a count of positive differences: Wilcoxon's signed-rank statistic
of the means of two of the pairs' differences (Walsh's averages), Mann and Whitney's of the differences of each number
of one set to each of the other. So the median of those differences is the estimate (Hodges and Lehmann, 1963), and its
interval ends at those of them that the statistic's law says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, comb, exp, floor

import numpy as np

from metabench.statistics.ratios import CONFIDENCE, Interval

LEVEL = 0.02
"""The share of false ones among all differences that are called (Benjamini and Hochberg), half of it each way."""


@dataclass(frozen=True)
class Shift:
    """By how much the second set lies above the first, in the numbers' unit."""

    value: float
    low: float
    high: float
    p: float
    """Of the two-sided test for no shift."""

    @property
    def as_factor(self) -> Interval:
        """The same of numbers that are logarithms: how many times as large the second set is."""
        return Interval(exp(self.value), exp(self.low), exp(self.high))


def adjusted(chances: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's correction of those p that there are, for how many were looked at."""
    from scipy.stats import false_discovery_control  # a second to import, and only comparisons correct anything

    there = [p for p in chances if p is not None]
    corrected = iter(false_discovery_control(there) if there else [])
    return [None if p is None else float(next(corrected)) for p in chances]


def smallest_p(first: int, second: int, paired: bool) -> float:
    """The smallest p that so many numbers can give at all: below it no test of ranks can tell anything."""
    return 2.0 ** (1 - first) if paired else 2 / comb(first + second, first)


def shift_of_pairs(differences: Sequence[float]) -> Shift:
    """From the differences (second minus first) of at least six pairs, by Wilcoxon's signed ranks."""
    array = np.asarray(differences, dtype=float)
    rows, columns = np.triu_indices(len(array))
    return _shift((array[rows] + array[columns]) / 2, _signed_rank_law(len(array)))


def shift_of_sets(first: Sequence[float], second: Sequence[float]) -> Shift:
    """From two sets of at least four numbers each that were taken apart, by Mann and Whitney's ranks."""
    differences = np.subtract.outer(np.asarray(second, dtype=float), np.asarray(first, dtype=float))
    return _shift(differences.ravel(), _rank_sum_law(len(second), len(first)))


def _shift(differences: np.ndarray, law: np.ndarray) -> Shift:
    """`law[k]` is the chance of k positive ones among the differences, where there is no shift."""
    ordered, below = np.sort(differences), np.cumsum(law)
    # Equal numbers count half, and the worse way round.
    positive = float(np.sum(ordered > 0) + np.sum(ordered == 0) / 2)
    p = 2 * min(below[ceil(positive)], below[len(ordered) - floor(positive)])  # the law is symmetric
    k = max(1, int(np.sum(below <= (1 - CONFIDENCE) / 2)))
    return Shift(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[-k]), min(1.0, float(p)))


@lru_cache
def _signed_rank_law(pairs: int) -> np.ndarray:
    """The chance of each sum of ranks, every sign being as likely as the other."""
    law = np.ones(1)
    for rank in range(1, pairs + 1):
        law = (np.pad(law, (0, rank)) + np.pad(law, (rank, 0))) / 2
    return law


@lru_cache
def _rank_sum_law(first: int, second: int) -> np.ndarray:
    """The chance of each of the statistic's values, every choice of ranks being as likely as any other."""
    most = first * (first + second)
    counts = np.zeros((first + 1, most + 1))  # how many sets of so many ranks have that sum
    counts[0, 0] = 1
    for rank in range(1, first + second + 1):
        counts[1:, rank:] += counts[:-1, :-rank].copy()
    smallest = first * (first + 1) // 2
    found = counts[first, smallest : smallest + first * second + 1]
    return np.asarray(found / found.sum())
