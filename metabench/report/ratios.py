"""Estimates with their 95 % intervals: times over rounds, ratios formed within a round, quality over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 1000
ROUNDS_TO_RESAMPLE = 3  # two rounds say too little about how rounds vary


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, in one unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio(Interval):
    """A ratio with its 95 % interval."""

    rounds: int
    """How many rounds it was formed in."""


def ratio_interval(
    numerator: Mapping[int, Sequence[float]], denominator: Mapping[int, Sequence[float]], seed: int = 0
) -> Ratio | None:
    """The ratio of two times whose samples are given by round; None without a round that both have samples of.

    In each common round the ratio of the medians, so that whatever slows both sides of a round alike cancels out;
    over the rounds their geometric mean. The interval is a percentile bootstrap with `seed`: samples are drawn anew
    within each round and side, and with three rounds or more the rounds are drawn anew too, so that the interval
    then contains how much processes differ. A bootstrap of so few rounds is too narrow (three would cover 80 %, not
    95 %), so its logarithm is stretched around the value as Student's interval exceeds that bootstrap's.
    Samples must be positive.
    """
    rounds = sorted(number for number in numerator.keys() & denominator.keys() if numerator[number])
    rounds = [number for number in rounds if denominator[number]]
    if not rounds:
        return None
    generator = np.random.default_rng(seed)
    centre = float(np.mean([math.log(np.median(numerator[r]) / np.median(denominator[r])) for r in rounds]))
    draws = np.stack(
        [_drawn_log_medians(numerator[r], generator) - _drawn_log_medians(denominator[r], generator) for r in rounds]
    )  # (rounds, RESAMPLES)
    stretch = 1.0
    if len(rounds) >= ROUNDS_TO_RESAMPLE:
        draws = np.take_along_axis(draws, generator.integers(len(rounds), size=draws.shape), axis=0)
        stretch = _stretch(len(rounds))
    tail = (1 - CONFIDENCE) / 2
    low, high = stretch * (np.quantile(draws.mean(axis=0), [tail, 1 - tail]) - centre)
    # the value is of all samples, the draws are not: it may stand just outside of them
    return Ratio(
        math.exp(centre), math.exp(centre + min(float(low), 0.0)), math.exp(centre + max(float(high), 0.0)), len(rounds)
    )


def _stretch(rounds: int) -> float:
    """How much wider Student's interval of a mean is than the one that a bootstrap of so few values gives.

    Student's quantile for the normal one, and √(n / (n - 1)) because drawing anew loses that share of the variance.
    """
    upper = (1 + CONFIDENCE) / 2
    return float(stdtrit(rounds - 1, upper) / ndtri(upper)) * math.sqrt(rounds / (rounds - 1))


def _drawn_log_medians(samples: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Logarithms of the medians of resampled samples: (RESAMPLES,)."""
    array = np.asarray(samples, dtype=float)
    drawn = array[generator.integers(len(array), size=(RESAMPLES, len(array)))]
    return np.asarray(np.log(np.median(drawn, axis=1)))


def time_interval(samples: Mapping[int, Sequence[float]]) -> Interval | None:
    """A time in seconds from its samples by round: the geometric mean of the rounds' medians.

    The same mean as for ratios, so that the times of a table agree with its ratios, and the same bootstrap: a time
    is its ratio to one second. (A median of medians could lie outside the interval of a geometric mean.)
    """
    ratio = ratio_interval(samples, {number: [1.0] for number in samples})
    return Interval(ratio.value, ratio.low, ratio.high) if ratio else None


def over_seeds(scores: Sequence[Interval]) -> Interval:
    """The mean of the scores of training seeds, each with its interval over held-out tasks; at least one score.

    One seed: its own interval, over tasks alone. Several: half the width is √(a² + b²), where a is Student's
    interval of the mean over seeds, and b² the mean of the squared half-widths over tasks. b does not shrink with
    the seeds, because all of them are judged on the same tasks.
    """
    if len(scores) == 1:
        return scores[0]
    values = np.array([score.value for score in scores])
    tasks = float(np.mean([((score.high - score.low) / 2) ** 2 for score in scores]))
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    seeds = quantile * float(values.std(ddof=1)) / math.sqrt(len(values))
    half, centre = math.sqrt(seeds**2 + tasks), float(values.mean())
    return Interval(centre, centre - half, centre + half)
