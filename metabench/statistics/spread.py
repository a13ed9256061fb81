"""How processes that time the same configuration differ, and the interval of a mean over processes that holds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, fdtri, stdtrit

from metabench.statistics.intervals import CONFIDENCE

FEWEST_CELLS = 5
"""Cells without which nothing is said of a typical one."""
ROUNDS_TO_TELL = 3
"""Rounds that tell how rounds vary: two say too little."""
SURE = 0.95
"""Confidence of the test that tells whether one spread is larger than another."""


@dataclass(frozen=True)
class Spread:
    """An estimated standard deviation, of logarithms of times, with the degrees of freedom that it stands on."""

    deviation: float
    freedom: float

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval of one value with this deviation."""
        return self.half_at(CONFIDENCE)

    def half_at(self, confidence: float) -> float:
        """Half the width of the interval of one value that has this confidence."""
        return student(self.freedom, confidence) * self.deviation

    def times(self, factor: float) -> "Spread":
        """The spread of a value that is `factor` times as large."""
        return Spread(factor * self.deviation, self.freedom)

    def surely_above(self, other: "Spread") -> bool:
        """Whether this deviation is the larger one, by Fisher's test."""
        return self.deviation**2 > other.deviation**2 * float(fdtri(self.freedom, other.freedom, SURE))

    def with_own(self, own: "Spread") -> "Spread":
        """Both estimates pooled, weighted by their degrees of freedom.

        `own` stands alone where it is surely the larger one: then the figure varies more than this spread knows.
        """
        freedom = self.freedom + own.freedom
        squares = self.freedom * self.deviation**2 + own.freedom * own.deviation**2
        pooled = Spread(math.sqrt(squares / freedom), freedom)
        return own if own.surely_above(self) and own.half > pooled.half else pooled


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many estimated deviations half an interval is wide, by Student's law of so many degrees of freedom."""
    return float(stdtrit(freedom, (1 + confidence) / 2))


def spread_of_rounds(logs: Sequence[float] | np.ndarray) -> Spread:
    """The spread of at least two values, one of each round."""
    return Spread(float(np.std(logs, ddof=1)), len(logs) - 1)


def spread_between(logs: Sequence[float] | np.ndarray, noise: Spread | None) -> Spread | None:
    """How processes differ, by the logarithms of one of each round and by the noise floor, pooled.

    None without a floor where fewer than `ROUNDS_TO_TELL` rounds tell.
    """
    if len(logs) < 2 or not (noise or len(logs) >= ROUNDS_TO_TELL):
        return noise
    own = spread_of_rounds(logs)
    return noise.with_own(own) if noise else own


def spread_of_pairs(logs: Sequence[tuple[float, float]] | np.ndarray) -> Spread:
    """How one process differs from another anywhere in a run, from at least two pairs of processes across it.

    Two processes of a pair ran one right after the other. Their difference holds what processes differ by; the
    difference of pairs also holds how the machine changes in the course of the run. The variance of a process is the
    mean of both mean squares of the analysis of variance, and its degrees of freedom are Satterthwaite's.
    """
    values = np.asarray(logs, dtype=float)
    pairs = len(values)
    within = float(np.mean((values[:, 0] - values[:, 1]) ** 2)) / 2
    between = 2 * float(np.var(values.mean(axis=1), ddof=1))
    total = within + between
    if total == 0:
        return Spread(0.0, 2 * pairs - 1)
    return Spread(math.sqrt(total / 2), total**2 / (between**2 / (pairs - 1) + within**2 / pairs))


def typical_spread(cells: Sequence[Sequence[float] | np.ndarray]) -> Spread | None:
    """How the rounds of a typical cell differ, from each cell's values by round; None for too few cells of two rounds.

    The variances are put on one scale by the median of their law, and the median of the cells counts: a disturbed cell
    moves it little. It stands on about half of the degrees of freedom that the mean would have.
    """
    own = [spread_of_rounds(values) for values in cells if len(values) > 1]
    if len(own) < FEWEST_CELLS:
        return None
    scaled = [found.deviation**2 * found.freedom / float(chdtri(found.freedom, 0.5)) for found in own]
    return Spread(math.sqrt(float(np.median(scaled))), sum(found.freedom for found in own) / 2)


def noise_of(pairs: Spread, cells: Spread | None) -> Spread:
    """How processes differ: as the noise pairs say, or as those of a typical cell where they surely differ by more."""
    return cells if cells and cells.surely_above(pairs) else pairs
