"""Estimates with their 95 % intervals: times over rounds, ratios formed within a round."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from metabench.record.timing import MIN_SAMPLES, Summary
from metabench.statistics.intervals import CONFIDENCE, RESAMPLES
from metabench.statistics.intervals import Interval as Interval
from metabench.statistics.scores import quotient
from metabench.statistics.spread import Spread, spread_between

LARGEST_LOG = 700.0
Round = TypeVar("Round", int, tuple[str, int])
"""The number of a round, or a run's name and the number in it."""


@dataclass(frozen=True)
class Ratio(Interval):
    """A ratio with its 95 % interval."""

    rounds: int
    """How many rounds it was formed in; 0 where both sides share none, and it was formed of two times."""

    @property
    def differs(self) -> bool:
        """Whether both sides may be called different: the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def ratio_interval(
    numerator: Mapping[Round, Sequence[float]],
    denominator: Mapping[Round, Sequence[float]],
    seed: int = 0,
    noise: Spread | None = None,
) -> Ratio | None:
    """The ratio of two times whose samples are given by round; None where a side has none.

    The ratio of the medians is formed in each common round, so that whatever slows both sides of a round alike cancels
    out; the value is the geometric mean over the rounds. `noise` is how one process of the run differs from another,
    and the interval holds it: the variance of the rounds' logarithms is pooled with that of two processes, and the
    interval is Student's. One round has no variance of its own: what its samples leave open is added in quadrature.

    Without `noise` the interval is Student's of three rounds or more. With fewer it is a percentile bootstrap with
    `seed`, which draws samples within each round and side, and covers the noise within a process alone. The bootstrap
    is not known where a round has fewer than `MIN_SAMPLES` samples. Samples must be positive.

    Sides that share no round are divided as two times, and both of their intervals enter that of the ratio in
    quadrature. What slowed the machine from one side to the other is then in the ratio.
    """
    rounds = sorted(number for number in numerator.keys() & denominator.keys() if numerator[number])
    rounds = [number for number in rounds if denominator[number]]
    if not rounds:
        return _ratio_apart(time_interval(numerator, noise), time_interval(denominator, noise))
    sides = [[side[number] for number in rounds] for side in (numerator, denominator)]
    logs = np.array([math.log(np.median(a) / np.median(b)) for a, b in zip(*sides, strict=True)])
    low, high = _ends(logs, sides, seed, noise and noise.times(math.sqrt(2)))
    return _as_ratio(logs, low, high)


def _ratio_apart(time: Interval | None, other: Interval | None) -> Ratio | None:
    if time is None or other is None:
        return None
    if not (time.low > 0 and other.low > 0):
        return Ratio(time.value / other.value, 0.0, math.inf, 0)
    found = quotient(time, other)
    return Ratio(found.value, found.low, found.high, 0)


def _ends(
    logs: np.ndarray, sides: Sequence[Sequence[Sequence[float]]], seed: int, noise: Spread | None
) -> tuple[float, float]:
    """How far the ends of the interval lie from the mean of the rounds' logarithms."""
    rounds = len(logs)
    if rounds > 1 and (between := spread_between(logs, noise)):
        half = between.half / math.sqrt(rounds)
        return -half, half
    if min(len(samples) for side in sides for samples in side) < MIN_SAMPLES:
        return -math.inf, math.inf
    generator = np.random.default_rng(seed)
    draws = [_drawn_log_medians(a, generator) - _drawn_log_medians(b, generator) for a, b in zip(*sides, strict=True)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.mean(draws, axis=0), [tail, 1 - tail]) - logs.mean()
    half = noise.half if noise else 0.0
    # The value is of all samples and the draws are not, so it may lie just outside of them.
    return -math.hypot(min(float(low), 0.0), half), math.hypot(max(float(high), 0.0), half)


def _as_ratio(logs: np.ndarray, low: float, high: float) -> Ratio:
    centre = float(logs.mean())
    return Ratio(math.exp(centre), exp_of(centre + low), exp_of(centre + high), len(logs))


def exp_of(log: float) -> float:
    """The exponential; infinite where it is too large for a number."""
    return math.exp(log) if log < LARGEST_LOG else math.inf


def _drawn_log_medians(samples: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Logarithms of the medians of resampled samples: (RESAMPLES,)."""
    array = np.asarray(samples, dtype=float)
    drawn = array[generator.integers(len(array), size=(RESAMPLES, len(array)))]
    return np.asarray(np.log(np.median(drawn, axis=1)))


def time_interval(samples: Mapping[Round, Sequence[float]], noise: Spread | None = None) -> Interval | None:
    """A time in seconds from its samples by round: the geometric mean of the rounds' medians.

    `noise` is how one process of the run differs from another, which the interval then holds as that of a ratio does. A
    time is its ratio to one second, so that the times of a table agree with its ratios. (A median of medians could
    lie outside the interval of a geometric mean.)
    """
    rounds = [samples[number] for number in sorted(samples) if samples[number]]
    if not rounds:
        return None
    logs = np.array([math.log(np.median(part)) for part in rounds])
    sides = (rounds, [[1.0] * MIN_SAMPLES] * len(rounds))
    ratio = _as_ratio(logs, *_ends(logs, sides, 0, noise))
    return Interval(ratio.value, ratio.low, ratio.high)


def step_interval(summary: Summary, noise: Spread | None = None) -> Interval:
    """The median of one process's samples, in seconds; its interval holds how processes differ, where that is known."""
    if len(summary.samples) < MIN_SAMPLES:
        return Interval(summary.median, 0.0, math.inf)
    return with_noise(Interval(summary.median, summary.low, summary.high), noise)


def with_noise(figure: Interval, noise: Spread | None) -> Interval:
    """A positive figure of one process, with how processes differ added to its interval in quadrature."""
    if noise is None or figure.low <= 0 or not figure.known:
        return figure
    centre, half = math.log(figure.value), noise.half
    low, high = (math.hypot(math.log(end) - centre, half) for end in (figure.low, figure.high))
    return Interval(figure.value, math.exp(centre - low), exp_of(centre + high))
