"""Laws of growth fitted to figures at several sizes: a power law, and a fixed part with a cost for each unit."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from metabench.statistics.intervals import Interval
from metabench.statistics.ratios import ROUNDS_TO_TELL
from metabench.statistics.spread import student

POINTS_TO_JUDGE = 3  # any law goes through two

CLOSE = 0.05
"""A straight line passes a point if it misses it by no more than this share of the whole growth."""
ROUNDING = 1e-9  # a relative figure below it is taken for 0: rounding leaves as much, and nothing measured is so small
NO_CHANGE = 1e-12
"""Logarithms whose squares sum to less are all alike, and there is nothing for a law to explain."""
Array: TypeAlias = NDArray[np.float64]
INTERCEPT, SLOPE = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@dataclass(frozen=True)
class Estimate:
    """A figure, and its 95 % interval where there is one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Law:
    """What was fitted to one line."""

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    """Geometric means over the rounds."""
    rounds: int
    exponent: Estimate
    """p of value = c · size^p."""
    r_squared: float | None
    """R² of the power law in logarithms; None for two points, or where nothing changes."""
    each: Estimate
    """b of value = a + b · size."""
    fixed: Estimate
    """a of value = a + b · size."""
    bent: bool
    """Whether a straight line misses a point by more than the rounds' noise; also true where that is not known."""
    power: tuple[Array, Array | None] = field(repr=False, compare=False)
    """log c and p, with their uncertainty as `_fitted` gives it."""

    @property
    def straight(self) -> bool:
        """Whether the straight line rises, by its interval, and passes at least three points, all of them closely."""
        rise, found = max(self.values) - min(self.values), self.each.interval
        misses = [
            abs(value - self.fixed.value - self.each.value * size)
            for size, value in zip(self.sizes, self.values, strict=True)
        ]
        judged = len(self.sizes) >= POINTS_TO_JUDGE and found is not None and found.low > 0
        return judged and max(misses) <= CLOSE * rise

    def at(self, size: float) -> Estimate:
        """The figure at a size, by the power law."""
        said = _estimate(*self.power, np.array([1.0, math.log(size)]))
        ends = said.interval and Interval(*(math.exp(min(v, 700.0)) for v in astuple(said.interval)))
        return Estimate(math.exp(said.value), ends or None)


def fit(rounds: Mapping[int, Mapping[float, float]]) -> Law | None:
    """Both laws of a line whose positive figures are given by round and positive size; None below two sizes.

    Each law is fitted by least squares of relative errors within every round that has all sizes, and the rounds'
    answers are averaged. Whatever slows a round as a whole therefore does not change the exponent. Intervals are
    Student's: of the rounds' answers from three rounds on; else of the residuals, where there are three sizes. With two
    sizes and fewer than three rounds there is no interval.
    """
    sizes = sorted({size for points in rounds.values() for size in points})
    whole = [points for _, points in sorted(rounds.items()) if len(points) == len(sizes)]
    if len(sizes) < 2 or not whole:
        return None
    x, y = np.array(sizes), np.array([[points[size] for size in sizes] for points in whole])
    means = np.exp(np.log(y).mean(0))
    power, affine = _fitted(np.log(x), np.log(y), np.ones_like(x)), _fitted(x, y, 1 / means)
    largest = float(means.max())
    return Law(
        tuple(sizes),
        tuple(means.tolist()),
        len(whole),
        _estimate(*power, SLOPE, ROUNDING),
        _r_squared(np.log(x), np.log(means), power[0]),
        _estimate(*affine, SLOPE, ROUNDING * largest / float(x.max())),
        _estimate(*affine, INTERCEPT, ROUNDING * largest),
        _bent(x, y, 1 / means),
        power,
    )


def _bent(x: Array, y: Array, weights: Array) -> bool:
    """Whether the residuals of the rounds' own straight lines, for y (rounds, sizes), have a mean that is not 0."""
    rounds = len(y)
    if rounds < ROUNDS_TO_TELL:
        return True
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    misses = (y * weights) @ (np.eye(len(x)) - design @ np.linalg.pinv(design))
    half = student(rounds - 1) * misses.std(0, ddof=1) / math.sqrt(rounds)
    return bool(np.any(np.abs(misses.mean(0)) > np.maximum(half, ROUNDING)))


def _r_squared(x: Array, y: Array, centre: Array) -> float | None:
    about, missed = float(((y - y.mean()) ** 2).sum()), float(((y - centre[0] - centre[1] * x) ** 2).sum())
    return 1 - missed / about if len(x) >= POINTS_TO_JUDGE and about > NO_CHANGE else None


def _fitted(x: Array, y: Array, weights: Array) -> tuple[Array, Array | None]:
    """Intercept and slope of y (rounds, sizes) against x (sizes), where errors are as large as 1 / weights.

    The matrix (2, 2) beside them gives the square of half the interval of any weighted sum of both; None if it is not
    known.
    """
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    inverse = np.linalg.pinv(design)
    answers = (y * weights) @ inverse.T  # (rounds, 2)
    centre = answers.mean(0)
    n, rounds = len(x), len(y)
    if rounds >= ROUNDS_TO_TELL:
        return centre, student(rounds - 1) ** 2 * np.cov(answers.T) / rounds
    if n >= POINTS_TO_JUDGE:
        residuals = y.mean(0) * weights - design @ centre
        variance = float((residuals**2).sum()) / (n - 2)
        return centre, student(n - 2) ** 2 * variance * inverse @ inverse.T
    return centre, None


def _estimate(centre: Array, spread: Array | None, shares: Array, rounding: float = 0.0) -> Estimate:
    """The sum of intercept and slope in those shares; what is smaller than `rounding` is 0."""
    value = _rounded(float(shares @ centre), rounding)
    if spread is None:
        return Estimate(value, None)
    half = _rounded(math.sqrt(max(float(shares @ spread @ shares), 0.0)), rounding)
    return Estimate(value, Interval(value, value - half, value + half))


def _rounded(value: float, rounding: float) -> float:
    return value if abs(value) > rounding else 0.0
