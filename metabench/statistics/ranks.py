"""Tests by ranks for a shift between two sets of numbers. No distribution is assumed.

The tests are SciPy's: Wilcoxon's for pairs, Mann and Whitney's for sets that were taken apart.
"""

from collections.abc import Sequence
from itertools import count
from math import comb

import numpy as np

LEVEL = 0.02
"""The share of false ones among all differences that are called (Benjamini and Hochberg), half of it each way."""


def adjusted(chances: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's correction of those p that there are, for how many were looked at."""
    from scipy.stats import false_discovery_control  # 0.7 s to import, which comparisons alone need

    there = [p for p in chances if p is not None]
    corrected = iter(false_discovery_control(there) if there else [])
    return [None if p is None else float(next(corrected)) for p in chances]


def smallest_p(first: int, second: int, paired: bool) -> float:
    """The smallest p that so many numbers can give at all: below it no test of ranks can tell anything."""
    return 2.0 ** (1 - first) if paired else 2 / comb(first + second, first)


def can_tell(first: int, second: int, cells: int, paired: bool) -> bool:
    """Whether ranks of so many numbers can call a shift that one cell alone has, after correction for all cells."""
    return cells * smallest_p(first, second, paired) <= LEVEL


def fewest_rounds(cells: int, paired: bool) -> int:
    """The fewest numbers on each side with which ranks can call a shift of one cell among so many."""
    return next(rounds for rounds in count(1) if can_tell(rounds, rounds, cells, paired))


def p_of_pairs(differences: Sequence[float]) -> float:
    """The two-sided p for no shift, from the differences of pairs, by Wilcoxon's signed ranks."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(np.asarray(differences, dtype=float), zero_method="zsplit", method="exact").pvalue)


def p_of_sets(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p for no shift between two sets that were taken apart, by Mann and Whitney's ranks."""
    from scipy.stats import mannwhitneyu

    return min(1.0, float(mannwhitneyu(second, first, method="exact").pvalue))
