"""How far one mean lies above another, of numbers taken in pairs or apart: Student's interval and Student's test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from metabench.statistics.intervals import CONFIDENCE

FEWEST = 3
"""The fewest numbers that say anything of how numbers differ."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, with how well it is known."""

    value: float
    deviation: float
    """The estimated deviation of the value."""
    freedom: float
    """Degrees of freedom of that deviation; 0 where there are too few numbers to have one."""

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval, by Student's law; infinite where it is not known."""
        return float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2)) * self.deviation if self.freedom else math.inf

    @property
    def p(self) -> float | None:
        """The two-sided p of Student's test for a value of 0; None where the deviation is not known."""
        if not self.freedom:
            return None
        if not self.deviation:
            return 0.0 if self.value else 1.0
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.deviation))


def mean(numbers: Sequence[float]) -> Estimate:
    """The mean of at least one number."""
    array = np.asarray(numbers, dtype=float)
    value = float(array.mean())
    if len(array) < FEWEST:
        return Estimate(value, math.inf, 0)
    return Estimate(value, float(array.std(ddof=1)) / math.sqrt(len(array)), len(array) - 1)


def shift_in_pairs(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The mean of the second set minus that of the first, where each number belongs to the one in the same place."""
    return mean([b - a for a, b in zip(first, second, strict=True)])


def shift_apart(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The mean of the second set minus that of the first, of sets that were taken apart: Welch's estimate."""
    before, after = mean(first), mean(second)
    value = after.value - before.value
    if not (before.freedom and after.freedom):
        return Estimate(value, math.inf, 0)
    parts = [(side.deviation**2, side.freedom) for side in (before, after)]
    squares = sum(square for square, _ in parts)
    shares = sum((square / squares) ** 2 / freedom for square, freedom in parts) if squares else 0.0
    freedom = 1 / shares if shares else before.freedom + after.freedom
    return Estimate(value, math.sqrt(squares), freedom)
