"""How far two sets of numbers are shifted: estimate, 95 % interval and test, all by ranks. No distribution is assumed.

The tests are SciPy's: Wilcoxon's for pairs, Mann and Whitney's for sets. Each counts positive differences, so the
median of these differences is the estimate (Hodges and Lehmann, 1963). The interval holds the shifts that the test
does not refuse; SciPy has no function for it.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, exp

import numpy as np

from metabench.statistics.intervals import CONFIDENCE, Interval

LEVEL = 0.02
"""The share of false ones among all differences that are called (Benjamini and Hochberg), half of it each way."""


@dataclass(frozen=True)
class Shift(Interval):
    """Height of the second set above the first, in the numbers' unit."""

    p: float
    """p of the two-sided test for no shift."""

    @property
    def as_factor(self) -> Interval:
        """The shift of logarithms as a factor: how many times as large the second set is."""
        return Interval(exp(self.value), exp(self.low), exp(self.high))


def adjusted(chances: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's correction of those p that there are, for how many were looked at."""
    from scipy.stats import false_discovery_control  # 0.7 s to import, which comparisons alone need

    there = [p for p in chances if p is not None]
    corrected = iter(false_discovery_control(there) if there else [])
    return [None if p is None else float(next(corrected)) for p in chances]


def smallest_p(first: int, second: int, paired: bool) -> float:
    """The smallest p that so many numbers can give at all: below it no test of ranks can tell anything."""
    return 2.0 ** (1 - first) if paired else 2 / comb(first + second, first)


def shift_of_pairs(differences: Sequence[float]) -> Shift:
    """The shift from the differences (second minus first) of at least six pairs, by Wilcoxon's signed ranks."""
    array = np.asarray(differences, dtype=float)
    return _shift(_walsh_averages(array), _left_out_of_pairs(len(array)), _wilcoxon_p(array))


def shift_of_sets(first: Sequence[float], second: Sequence[float]) -> Shift:
    """The shift between two sets of at least four numbers each that were taken apart, by Mann and Whitney's ranks."""
    before, after = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    differences = np.subtract.outer(after, before).ravel()
    return _shift(differences, _left_out_of_sets(len(before), len(after)), _mann_whitney_p(before, after))


def _shift(differences: np.ndarray, left_out: int, p: float) -> Shift:
    """`left_out` differences lie outside of the interval at either end."""
    ordered = np.sort(differences)
    return Shift(float(np.median(ordered)), float(ordered[left_out]), float(ordered[-1 - left_out]), min(1.0, p))


def _walsh_averages(array: np.ndarray) -> np.ndarray:
    """The averages of all pairs of numbers, each with itself, too: the statistic counts the positive ones."""
    rows, columns = np.triu_indices(len(array))
    return np.asarray((array[rows] + array[columns]) / 2)


def _wilcoxon_p(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, zero_method="zsplit", method="exact").pvalue)


def _mann_whitney_p(before: np.ndarray, after: np.ndarray) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(after, before, method="exact").pvalue)


@lru_cache
def _left_out_of_pairs(pairs: int) -> int:
    """How many averages the interval leaves out at either end: as many for all numbers that have no ties."""
    array = np.random.default_rng(0).normal(size=pairs)
    return _left_out(_walsh_averages(array), lambda shift: _wilcoxon_p(array - shift))


@lru_cache
def _left_out_of_sets(first: int, second: int) -> int:
    """How many differences the interval leaves out at either end: as many for all numbers that have no ties."""
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=first), generator.normal(size=second)
    differences = np.subtract.outer(after, before).ravel()
    return _left_out(differences, lambda shift: _mann_whitney_p(before, after - shift))


def _left_out(differences: np.ndarray, p_of: Callable[[float], float]) -> int:
    """`p_of` tests a shift. Its p rises up to the median difference, so the first that is not refused is sought."""
    ordered = np.sort(differences)
    between = (ordered[1:] + ordered[:-1]) / 2
    return bisect_right(between[: len(between) // 2], 1 - CONFIDENCE, key=p_of)  # as many at the other end
