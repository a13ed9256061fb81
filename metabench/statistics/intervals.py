"""Summaries of samples with their uncertainty. No distribution of times is assumed.

Each process that measures loads this module, so it needs NumPy alone: importing scipy.stats takes 0.7 s and 46 MiB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np

from metabench.record.timing import Mean, Summary

CONFIDENCE = 0.95
"""Confidence of every interval that is shown."""
NOISY_WIDTH = 0.10
"""A time whose 95 % interval is wider than ± this share of it is noisy, and one that moves by more while it is measured
drifts. Differences between implementations that matter to a choice are mostly larger."""
RESAMPLES = 1000
"""How often a bootstrap draws."""
STOPPING_CONFIDENCE = 0.99
NORMAL = 1.96
"""How many deviations half a 95 % interval of a mean over many tasks is wide, as few-shot results are published."""
LARGEST_LOGARITHM = 500.0
"""The largest logarithm of a factor that is raised again."""
Scale: TypeAlias = Literal["share", "positive", "any"]
"""What a figure may be: between 0 and 1, above 0, or any number."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, in one unit; from 0 to infinity where there are too few samples to know it."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there were enough samples for an interval."""
        return math.isfinite(self.high)

    @property
    def noisy(self) -> bool:
        """Whether the interval is known, and wider than `NOISY_WIDTH` to either side on average."""
        return self.known and self.high - self.low > 2 * NOISY_WIDTH * abs(self.value)

    @property
    def drawn(self) -> "Interval":
        """The interval as it can be drawn: the value alone where the interval is not known."""
        return self if self.known else Interval(self.value, self.value, self.value)


def scale_of(metric: str) -> Scale:
    """What a score may be: an accuracy is a share, and errors are positive."""
    return "share" if metric == "accuracy" else "positive"


def summarise(samples: Sequence[float], block: int = 1) -> Summary:
    """The summary of at least one sample."""
    ordered = np.sort(np.asarray(samples, dtype=float))
    low, high = median_interval(ordered)
    quarter, median, three_quarters = np.quantile(ordered, [0.25, 0.5, 0.75])
    return Summary(float(median), low, high, float(three_quarters - quarter), len(ordered), block, tuple(samples))


def median_interval(ordered: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the median of sorted samples: the k-th smallest and the k-th largest of them.

    k is the largest for which P(Binomial(n, 1/2) < k) <= (1 - confidence) / 2. Fewer than six samples cannot reach
    95 %: their range is given (n = 5 covers 93.75 %). `scipy.stats.quantile_test` has the same interval; it takes
    1.4 ms, and this is asked for while samples are taken.
    """
    n = len(ordered)
    k = max(_outside(n, confidence), 1)
    return float(ordered[k - 1]), float(ordered[n - k])


@lru_cache(1000)
def _outside(n: int, confidence: float) -> int:
    """The k of `median_interval`, counted in whole numbers of outcomes; 0 where even the range does not cover."""
    k, ways, fewer, all_ways = 0, 1, 1, 2**n
    while fewer / all_ways <= (1 - confidence) / 2:
        ways = ways * (n - k) // (k + 1)
        fewer += ways
        k += 1
    return k


def known_within(samples: Sequence[float], share: float) -> bool:
    """Whether the median is known to ± `share` of itself, well enough to stop sampling.

    The 99 % interval decides, scaled to 95 % as for a normal distribution. The reported interval must not: sampling
    would then stop whenever the two samples that bound it are close by chance, and it would cover less than 95 %.
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    low, high = median_interval(ordered, STOPPING_CONFIDENCE)
    scale = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) / NormalDist().inv_cdf((1 + STOPPING_CONFIDENCE) / 2)
    return scale * (high - low) / 2 < share * float(np.median(ordered))


def mean_interval(values: Sequence[float] | np.ndarray, metric: str) -> Mean:
    """The mean of the scores of tasks, with its interval; with one value the interval is that value."""
    array = np.asarray(values, dtype=float)
    centre = float(array.mean())
    half = NORMAL * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else 0.0
    low, high = ends(centre, half, len(array), metric) if len(array) > 1 else (centre, centre)
    return Mean(centre, low, high, len(array))


def ends(mean: float, half: float, tasks: int, metric: str) -> tuple[float, float]:
    """The ends of the interval of a mean score over so many tasks, where `half` is 1.96 σ/√n.

    An accuracy has Wilson's interval, which lies in [0, 1], for as many independent answers as have the same deviation
    of the mean. Of tasks that are all right or all wrong there are no more answers than tasks. An error has the
    interval of its logarithm, by the delta method, which lies above 0.
    """
    if scale_of(metric) == "positive":
        factor = math.exp(min(half / mean, LARGEST_LOGARITHM)) if mean > 0 else 1.0
        return mean / factor, mean * factor
    mixed = mean * (1 - mean)
    if mixed > 0 and half == 0:
        return mean, mean
    answers = mixed * (NORMAL / half) ** 2 if mixed > 0 else tasks
    centre, share = mean + NORMAL**2 / (2 * answers), 1 + NORMAL**2 / answers
    width = NORMAL * math.sqrt(max(mixed, 0.0) / answers + (NORMAL / (2 * answers)) ** 2)
    return max(0.0, min(mean, (centre - width) / share)), min(1.0, max(mean, (centre + width) / share))
