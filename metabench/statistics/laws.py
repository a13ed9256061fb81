"""Laws of growth fitted to figures at several sizes: a power law, and a fixed part with a cost for each unit."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from metabench.statistics.ratios import ROUNDS_TO_TELL, Interval, student

POINTS_TO_JUDGE = 3  # any law goes through two

CLOSE = 0.05
"""A straight line passes a point if it misses it by no more than this share of the whole growth."""
DUST = 1e-9  # what double precision leaves of nothing, and less than anything measured
NO_CHANGE = 1e-12
"""Of the sum of squares of logarithms: below it there is nothing that a law could explain."""
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
    """Of the power law, in logarithms; None for two points, or where nothing changes."""
    each: Estimate
    """b of value = a + b · size."""
    fixed: Estimate
    """a."""
    bent: bool
    """Whether a straight line misses any point by more than the rounds' noise, or that noise is not known."""
    power: tuple[Array, Array | None] = field(repr=False, compare=False)
    """log c and p, and how sure they are: see `_fitted`."""

    @property
    def straight(self) -> bool:
        """Whether the straight line rises, by its interval, and passes all points, three at least, closely."""
        rise, found = max(self.values) - min(self.values), self.each.interval
        misses = [
            abs(value - self.fixed.value - self.each.value * size)
            for size, value in zip(self.sizes, self.values, strict=True)
        ]
        judged = len(self.sizes) >= POINTS_TO_JUDGE and found is not None and found.low > 0
        return judged and max(misses) <= CLOSE * rise

    def at(self, size: float) -> Estimate:
        """What the power law says of a size."""
        said = _estimate(*self.power, np.array([1.0, math.log(size)]))
        ends = said.interval and Interval(*(math.exp(min(v, 700.0)) for v in astuple(said.interval)))
        return Estimate(math.exp(said.value), ends or None)


def fit(rounds: Mapping[int, Mapping[float, float]]) -> Law | None:
    """Both laws of a line whose positive figures are given by round and positive size; None below two sizes.

    Each law is fitted by least squares of relative errors within every round that has all sizes, and the rounds'
    answers are averaged. Whatever slows a round as a whole therefore leaves the exponent alone. From three rounds on,
    intervals are Student's, of the rounds' answers; with fewer, and three sizes or more, Student's of the residuals:
    how far the law misses the points. With two sizes and fewer than three rounds there is no interval.
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
        _estimate(*power, SLOPE, DUST),
        _r_squared(np.log(x), np.log(means), power[0]),
        _estimate(*affine, SLOPE, DUST * largest / float(x.max())),
        _estimate(*affine, INTERCEPT, DUST * largest),
        _bent(x, y, 1 / means),
        power,
    )


def _bent(x: Array, y: Array, weights: Array) -> bool:
    """Of y (rounds, sizes): in each round the misses of its own straight line, and Student's interval of their mean."""
    rounds = len(y)
    if rounds < ROUNDS_TO_TELL:
        return True
    design = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
    misses = (y * weights) @ (np.eye(len(x)) - design @ np.linalg.pinv(design))
    half = student(rounds - 1) * misses.std(0, ddof=1) / math.sqrt(rounds)
    return bool(np.any(np.abs(misses.mean(0)) > np.maximum(half, DUST)))


def _r_squared(x: Array, y: Array, centre: Array) -> float | None:
    about, missed = float(((y - y.mean()) ** 2).sum()), float(((y - centre[0] - centre[1] * x) ** 2).sum())
    return 1 - missed / about if len(x) >= POINTS_TO_JUDGE and about > NO_CHANGE else None


def _fitted(x: Array, y: Array, weights: Array) -> tuple[Array, Array | None]:
    """Intercept and slope of y (rounds, sizes) against x (sizes), errors being as large as 1 / weights.

    With them what a sum of both, in any shares, has as the square of half its interval: (2, 2); None if not known.
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


def _estimate(centre: Array, spread: Array | None, shares: Array, dust: float = 0.0) -> Estimate:
    """The sum of both in those shares; what is smaller than `dust`, which rounding leaves, is 0."""
    value = _without(float(shares @ centre), dust)
    if spread is None:
        return Estimate(value, None)
    half = _without(math.sqrt(max(float(shares @ spread @ shares), 0.0)), dust)
    return Estimate(value, Interval(value, value - half, value + half))


def _without(value: float, dust: float) -> float:
    return value if abs(value) > dust else 0.0
