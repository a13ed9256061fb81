"""Scores over training seeds, and what two trainings differ by, with 95 % intervals.

Every training seed is judged on the same test tasks, and so is every algorithm: seeds and tasks are crossed.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from metabench.statistics.intervals import LARGEST_LOGARITHM, NORMAL, Interval, Scale
from metabench.statistics.spread import student

Scores = Sequence[Sequence[float]]
"""The score of each test task, for each training seed."""


def mean_of(values: Sequence[float], scale: Scale) -> float:
    """The mean over seeds: geometric of positive figures, as their intervals are formed in logarithms."""
    if scale == "positive" and min(values) > 0:
        return math.exp(math.fsum(math.log(value) for value in values) / len(values))
    return math.fsum(values) / len(values)


def over_seeds(scores: Sequence[Interval], scale: Scale) -> Interval:
    """The mean of the scores of training seeds, each with its interval over test tasks; at least one score.

    One seed has its own interval, over tasks alone. Of several, an end is √(a² + b²) from the mean, where a is half of
    Student's interval of the mean over seeds, and b² the mean of the squares of how far that end is from a seed's
    score. b does not shrink with more seeds, because all of them are judged on the same tasks. Positive figures are
    their logarithms meanwhile; a share is cut off at 0 and 1.
    """
    if len(scores) == 1:
        return scores[0]
    if scale == "positive" and all(score.low > 0 for score in scores):
        return _mapped(over_seeds([_mapped(score, math.log) for score in scores], "any"), _raised)
    values = np.array([score.value for score in scores])
    seeds, centre = _of_seeds(values), float(values.mean())
    below = math.sqrt(seeds**2 + float(np.mean([(score.value - score.low) ** 2 for score in scores])))
    above = math.sqrt(seeds**2 + float(np.mean([(score.high - score.value) ** 2 for score in scores])))
    low = centre - below if scale == "any" else max(0.0, centre - below)
    high = min(1.0, centre + above) if scale == "share" else centre + above
    return Interval(centre, min(low, centre), max(high, centre))


def difference(score: Interval, other: Interval) -> Interval:
    """A score minus another. Their intervals are put together as those of independent scores."""
    centre = score.value - other.value
    below = math.hypot(score.value - score.low, other.high - other.value)
    above = math.hypot(score.high - score.value, other.value - other.low)
    return Interval(centre, centre - below, centre + above)


def quotient(score: Interval, other: Interval) -> Interval:
    """A positive score divided by another. Their intervals are put together as those of independent scores."""
    return _mapped(difference(_mapped(score, math.log), _mapped(other, math.log)), _raised)


def paired_difference(scores: Scores, others: Scores) -> Interval:
    """The mean over seeds of the difference of the means over tasks; both sides have the same seeds and tasks."""
    each = np.asarray(scores, dtype=float) - np.asarray(others, dtype=float)
    return _crossed(each.mean(axis=1), each)


def paired_quotient(scores: Scores, others: Scores) -> Interval:
    """The geometric mean over seeds of the quotient of the means over tasks; both have the same seeds and tasks.

    The interval is of its logarithm. A task moves that by its score as a share of the mean, less the other side's.
    """
    sides = [np.asarray(side, dtype=float) for side in (scores, others)]
    shares = [side / side.mean(axis=1, keepdims=True) for side in sides]
    logarithms = np.log(sides[0].mean(axis=1)) - np.log(sides[1].mean(axis=1))
    return _mapped(_crossed(logarithms, shares[0] - shares[1]), _raised)


def _crossed(values: np.ndarray, of_tasks: np.ndarray) -> Interval:
    """The mean of the values of seeds, whose half-width is √(a² + b²).

    a is half of Student's interval of the mean over seeds, and b that of the mean over tasks of what each task gives in
    the mean over the seeds: (seeds, tasks). Chance that is of neither alone counts in both, so it is no narrower than
    it should be.
    """
    tasks = of_tasks.mean(axis=0)
    chance = NORMAL * float(tasks.std(ddof=1)) / math.sqrt(len(tasks)) if len(tasks) > 1 else 0.0
    half, centre = math.hypot(_of_seeds(values), chance), float(values.mean())
    return Interval(centre, centre - half, centre + half)


def _of_seeds(values: np.ndarray) -> float:
    """Half of Student's interval of the mean over seeds; 0 for one seed, of which nothing is known."""
    if len(values) < 2:
        return 0.0
    return student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))


def _raised(logarithm: float) -> float:
    """Exponential function, cut off before it overflows."""
    return math.exp(min(logarithm, LARGEST_LOGARITHM))


def _mapped(figure: Interval, function: Callable[[float], float]) -> Interval:
    """The figure and its ends, each by a rising function."""
    return Interval(function(figure.value), function(figure.low), function(figure.high))
