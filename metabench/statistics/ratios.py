"""Estimates with their 95 % intervals: times over rounds, ratios formed within a round, quality over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from metabench.record.timing import MIN_SAMPLES, Summary
from metabench.statistics.intervals import CONFIDENCE, RESAMPLES
from metabench.statistics.intervals import Interval as Interval

ROUNDS_TO_TELL = 3  # two rounds say too little about how rounds vary


@dataclass(frozen=True)
class Ratio(Interval):
    """A ratio with its 95 % interval."""

    rounds: int
    """How many rounds it was formed in."""


def ratio_interval(
    numerator: Mapping[int, Sequence[float]],
    denominator: Mapping[int, Sequence[float]],
    seed: int = 0,
    least: int = MIN_SAMPLES,
) -> Ratio | None:
    """The ratio of two times whose samples are given by round; None without a round that both have samples of.

    The ratio of the medians is formed in each common round, so that whatever slows both sides of a round alike cancels
    out; the value is the geometric mean over the rounds. From three rounds on the interval is Student's, of the rounds'
    logarithms: it covers how much processes differ, and the noise within them. With fewer rounds it is a percentile
    bootstrap with `seed`, which draws samples within each round and side, and covers the noise within a process alone;
    it is not known where a round has fewer than `least` samples. Samples must be positive.
    """
    rounds = sorted(number for number in numerator.keys() & denominator.keys() if numerator[number])
    rounds = [number for number in rounds if denominator[number]]
    if not rounds:
        return None
    logs = np.array([math.log(np.median(numerator[r]) / np.median(denominator[r])) for r in rounds])
    centre = float(logs.mean())
    if len(rounds) >= ROUNDS_TO_TELL:
        half = student(len(rounds) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(rounds))
        low, high = -half, half
    elif min(len(side[r]) for side in (numerator, denominator) for r in rounds) < least:
        low, high = -math.inf, math.inf
    else:
        generator = np.random.default_rng(seed)
        draws = [
            _drawn_log_medians(numerator[r], generator) - _drawn_log_medians(denominator[r], generator) for r in rounds
        ]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(np.mean(draws, axis=0), [tail, 1 - tail]) - centre
    # The value is of all samples and the draws are not, so it may lie just outside of them.
    return Ratio(
        math.exp(centre), math.exp(centre + min(float(low), 0.0)), math.exp(centre + max(float(high), 0.0)), len(rounds)
    )


def student(freedom: int) -> float:
    """How many estimated deviations half a 95 % interval is wide, by Student's law of so many degrees of freedom."""
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _drawn_log_medians(samples: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Logarithms of the medians of resampled samples: (RESAMPLES,)."""
    array = np.asarray(samples, dtype=float)
    drawn = array[generator.integers(len(array), size=(RESAMPLES, len(array)))]
    return np.asarray(np.log(np.median(drawn, axis=1)))


def time_interval(samples: Mapping[int, Sequence[float]]) -> Interval | None:
    """A time in seconds from its samples by round: the geometric mean of the rounds' medians.

    A time is its ratio to one second, so that the times of a table agree with its ratios. (A median of medians could
    lie outside the interval of a geometric mean.)
    """
    ratio = ratio_interval(samples, dict.fromkeys(samples, [1.0] * MIN_SAMPLES))
    return Interval(ratio.value, ratio.low, ratio.high) if ratio else None


def step_interval(summary: Summary) -> Interval:
    """The median of one process's samples with its interval, in seconds, as a row has them."""
    if len(summary.samples) < MIN_SAMPLES:
        return Interval(summary.median, 0.0, math.inf)
    return Interval(summary.median, summary.low, summary.high)


def difference(score: Interval, other: Interval) -> Interval:
    """A score minus another. Their intervals are added as those of independent scores."""
    half = math.hypot((score.high - score.low) / 2, (other.high - other.low) / 2)
    centre = score.value - other.value
    return Interval(centre, centre - half, centre + half)


def over_seeds(scores: Sequence[Interval]) -> Interval:
    """The mean of the scores of training seeds, each with its interval over held-out tasks; at least one score.

    One seed has its own interval, over tasks alone. Of several, half the width is √(a² + b²), where a is half of
    Student's interval of the mean over seeds, and b² the mean of the squared half-widths over tasks. b does not shrink
    with more seeds, because all of them are judged on the same tasks.
    """
    if len(scores) == 1:
        return scores[0]
    values = np.array([score.value for score in scores])
    tasks = float(np.mean([((score.high - score.low) / 2) ** 2 for score in scores]))
    seeds = student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    half, centre = math.sqrt(seeds**2 + tasks), float(values.mean())
    return Interval(centre, centre - half, centre + half)
