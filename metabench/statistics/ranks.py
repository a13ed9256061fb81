"""How far two sets of numbers are shifted: estimate, 95 % interval and test, all by ranks. No distribution is assumed.

The tests are SciPy's: Wilcoxon's for pairs, Mann and Whitney's for sets. Each counts positive differences, so the
median of these differences is the estimate (Hodges and Lehmann, 1963). The interval holds the shifts that the test
does not refuse; SciPy has no function for it.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    from scipy.stats import wilcoxon

    array = np.asarray(differences, dtype=float)
    rows, columns = np.triu_indices(len(array))
    averages = (array[rows] + array[columns]) / 2  # Walsh's, whose signs the statistic counts
    return _shift(averages, lambda shift: wilcoxon(array - shift, zero_method="zsplit", method="exact").pvalue)


def shift_of_sets(first: Sequence[float], second: Sequence[float]) -> Shift:
    """The shift between two sets of at least four numbers each that were taken apart, by Mann and Whitney's ranks."""
    from scipy.stats import mannwhitneyu

    before, after = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    differences = np.subtract.outer(after, before).ravel()
    return _shift(differences, lambda shift: mannwhitneyu(after - shift, before, method="exact").pvalue)


def _shift(differences: np.ndarray, p_of: Callable[[float], float]) -> Shift:
    """`p_of` tests a shift. Its p rises up to the median difference, so the first that is not refused is sought."""
    ordered = np.sort(differences)
    between = (ordered[1:] + ordered[:-1]) / 2
    outside = bisect_right(between[: len(between) // 2], 1 - CONFIDENCE, key=p_of)  # as many at the other end
    return Shift(
        float(np.median(ordered)), float(ordered[outside]), float(ordered[-1 - outside]), min(1.0, float(p_of(0.0)))
    )
