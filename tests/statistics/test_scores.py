"""Scores over training seeds, and what two trainings differ by on the same test tasks."""

import math

import numpy as np
import pytest

from metabench.statistics.intervals import Interval, ends, mean_interval
from metabench.statistics.scores import (
    difference,
    mean_of,
    over_seeds,
    paired_difference,
    paired_quotient,
    quotient,
)
from recorded import TARGET

RUNS = 2000


def test_one_seed_keeps_its_interval():
    score = Interval(0.9, 0.88, 0.92)
    assert over_seeds([score], "share") == score


def test_several_seeds_by_hand():
    # Over seeds: t(1) = 12.7062, standard deviation 0.141421, so a = 12.7062 · 0.141421 / √2 = 1.27062; b = 0.1.
    scores = [Interval(0.4, 0.3, 0.5), Interval(0.6, 0.5, 0.7)]
    mean = over_seeds(scores, "any")
    assert mean.value == pytest.approx(0.5)
    assert mean.high - mean.value == pytest.approx(math.sqrt(1.27062**2 + 0.1**2), rel=1e-5)
    assert mean.value - mean.low == pytest.approx(mean.high - mean.value)
    assert over_seeds(scores, "share") == Interval(mean.value, 0.0, 1.0)


def test_errors_of_three_seeds_have_an_interval_above_zero():
    """Their arithmetic mean ± Student's interval would be 0.38 ± 0.35, and ± 0.40 with the tasks."""
    scores = [Interval(value, *ends(value, 0.03, 600, "mse")) for value in (0.538, 0.346, 0.263)]
    mean = over_seeds(scores, "positive")
    logarithms = np.log([0.538, 0.346, 0.263])
    half = math.hypot(
        4.302653 * logarithms.std(ddof=1) / math.sqrt(3),
        math.sqrt(np.mean([(0.03 / v) ** 2 for v in (0.538, 0.346, 0.263)])),
    )
    assert mean.value == pytest.approx(math.exp(logarithms.mean())) == pytest.approx(0.3658, rel=1e-3)
    assert (mean.low, mean.high) == pytest.approx((mean.value / math.exp(half), mean.value * math.exp(half)), rel=1e-6)
    assert 0 < mean.low < 0.16 and mean.high > 0.85


def test_seeds_that_agree_do_not_narrow_the_interval_over_tasks():
    for scale in ("any", "share"):
        mean = over_seeds([Interval(0.5, 0.4, 0.6)] * 5, scale)
        assert (mean.low, mean.high) == (pytest.approx(0.4), pytest.approx(0.6))


@pytest.mark.parametrize("values", [(1.0, 1.0, 1.0), (0.0, 0.001, 0.0), (0.999, 1.0, 0.98), (0.5, 0.1, 0.99)])
def test_an_accuracy_stays_between_zero_and_one(values):
    mean = over_seeds(
        [Interval(value, *ends(value, 0.02 * (value % 1 > 0), 600, "accuracy")) for value in values], "share"
    )
    assert 0 <= mean.low <= mean.value <= mean.high <= 1


def test_the_mean_of_errors_is_geometric():
    assert mean_of([0.1, 10.0], "positive") == pytest.approx(1.0)
    assert mean_of([0.1, 0.3], "share") == pytest.approx(0.2)
    assert mean_of([0.0, 0.3], "positive") == pytest.approx(0.15)  # 0 has no logarithm


def test_independent_scores_are_put_together_end_by_end():
    """Zou and Donner's ends of a difference: each from the ends that lie on that side."""
    found = difference(Interval(0.9, 0.8, 0.93), Interval(0.5, 0.46, 0.6))
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4 - math.hypot(0.1, 0.1)) and found.high == pytest.approx(
        0.4 + math.hypot(0.03, 0.04)
    )
    ratio = quotient(Interval(2.0, 1.0, 4.0), Interval(1.0, 1.0, 1.0))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 1.0, 4.0))


def test_a_paired_difference_of_one_seed_is_over_tasks():
    """What both sides share of a task's difficulty cancels out."""
    found = paired_difference([[0.9, 0.5, 0.1]], [[0.8, 0.4, 0.1]])
    half = 1.96 * np.std([0.1, 0.1, 0.0], ddof=1) / math.sqrt(3)
    assert found.value == pytest.approx(0.2 / 3)
    assert (found.low, found.high) == pytest.approx((0.2 / 3 - half, 0.2 / 3 + half))


def test_a_paired_difference_of_several_seeds_holds_seeds_and_tasks():
    scores, others = [[1.0, 2.0], [2.0, 5.0]], [[0.0, 0.0], [1.0, 1.0]]
    found = paired_difference(scores, others)
    # seeds: 1.5 and 2.5, t(1) = 12.7062; tasks in the mean over seeds: 1 and 3
    half = math.hypot(12.70620 * math.sqrt(0.5) / math.sqrt(2), 1.96 * math.sqrt(2) / math.sqrt(2))
    assert found.value == pytest.approx(2.0) and found.high - 2.0 == pytest.approx(half, rel=1e-6)


def test_the_quotient_of_a_side_that_is_a_multiple_is_exact():
    tasks = np.random.default_rng(0).exponential(1.0, (1, 50))
    found = paired_quotient(0.7 * tasks, tasks)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("function", [paired_difference, paired_quotient])
def test_paired_intervals_cover_what_they_say(function, seeds):
    """Errors of 200 tasks that differ tenfold in difficulty, with chance of seeds, tasks and both; the truth is 0.8.

    Of one seed the interval is over tasks alone, so seeds do not differ there. It may be wider than it says, since
    chance of seed and task together counts twice.
    """
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(RUNS):
        difficulty = generator.lognormal(0.0, 1.0, (1, 200))
        own = generator.lognormal(-0.02, 0.2, (1, 200))
        of_seeds = np.exp(generator.normal(0, 0.05, (2, seeds, 1)) * (seeds > 1))
        noise = generator.lognormal(-0.045, 0.3, (2, seeds, 200))
        scores, others = (difficulty * factor * chance for factor, chance in zip(of_seeds, noise, strict=True))
        found = function(0.8 * own * scores, others)
        truth = 0.8 if function is paired_quotient else -0.2 * math.exp(0.5)
        covered += found.low <= truth <= found.high
    assert TARGET[0] - 0.01 <= covered / RUNS <= 0.99


@pytest.mark.parametrize(("share", "answers"), [(0.02, 5), (0.5, 5), (0.97, 5), (0.999, 25)])
def test_the_interval_of_an_accuracy_covers_what_it_says(share, answers):
    """Tasks differ in difficulty; 600 of them, so that near 1 some runs have hardly a wrong answer."""
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(RUNS):
        spread = min(share, 1 - share) / 2
        scores = generator.binomial(answers, share + generator.choice([-spread, spread], 600)) / answers
        found = mean_interval(scores, "accuracy")
        assert 0 <= found.low <= found.value <= found.high <= 1
        covered += found.low <= share <= found.high
    assert TARGET[0] <= covered / RUNS <= 0.98
