import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, quantile_test

from metabench.statistics.intervals import ends, known_within, mean_interval, median_interval, summarise
from recorded import LAWS, RUNS, TARGET, recorded, recorded_once


def test_summary_of_a_known_sample():
    summary = summarise([3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0, 8.0, 9.0], block=4)
    assert summary.median == 5.0
    assert (summary.low, summary.high) == (2.0, 8.0)  # ranks 2 and 8 of 9: 96.1 %
    assert summary.iqr == 4.0
    assert (summary.n, summary.block) == (9, 4)
    assert summary.samples[:2] == (3.0, 1.0)  # as measured, not sorted
    assert summary.relative_width == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("n", "ranks"), [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))]
)
def test_ranks_are_the_tabulated_ones(n, ranks):
    assert median_interval(list(range(1, n + 1))) == tuple(float(rank) for rank in ranks)


@pytest.mark.parametrize("n", [6, 7, 15, 40, 200])
def test_interval_is_the_narrowest_that_covers_95_percent(n):
    low, high = median_interval(list(range(1, n + 1)))
    k = int(low)
    assert int(high) == n - k + 1
    coverage = 1 - 2 * binom.cdf(k - 1, n, 0.5)
    narrower = 1 - 2 * binom.cdf(k, n, 0.5)
    assert coverage >= 0.95 > narrower


@pytest.mark.parametrize("n", [6, 25, 60])
def test_the_interval_of_a_median_is_scipys(n):
    samples = np.random.default_rng(n).lognormal(size=n)
    expected = quantile_test(samples, q=0, p=0.5).confidence_interval(0.95)
    assert median_interval(np.sort(samples)) == (expected.low, expected.high)


@pytest.mark.parametrize("n", [17, 44, 200])
@pytest.mark.parametrize("law", LAWS)
def test_coverage_on_two_thousand_synthetic_runs(law, n):
    """At numbers of samples whose ranks can come near to 95 % (here 95.1 to 96.0 %): ranks are whole numbers, and of 8
    samples the narrowest interval that covers no less covers 99.2 %."""
    draw, truth = LAWS[law]
    samples = np.sort(draw(np.random.default_rng(7), (RUNS, n)), axis=1)
    k = int(median_interval(range(1, n + 1))[0])
    assert median_interval(samples[0]) == (samples[0, k - 1], samples[0, n - k])
    covered = np.mean((samples[:, k - 1] <= truth) & (truth <= samples[:, n - k]))
    assert TARGET[0] <= covered <= TARGET[1]


def test_the_truth_is_never_below_95_percent():
    for n in range(6, 300):
        k = int(median_interval(range(1, n + 1))[0])
        most = 0.993 if n < 20 else 0.984 if n < 60 else 0.973
        assert 0.95 <= 1 - 2 * binom.cdf(k - 1, n, 0.5) <= most


def test_a_median_is_known_well_enough_by_an_interval_that_is_not_the_reported_one():
    # 100 samples: the 99 % interval has ranks 37 and 64, so half its width is 13.5 steps, and 1.95996 / 2.57583 of it
    # is 10.27; the median is 1000.5 at steps of 1.
    samples = [951.0 + i for i in range(100)]
    share = 13.5 * 1.959964 / 2.575829 / 1000.5
    assert known_within(samples, share * 1.001) and not known_within(samples, share * 0.999)


def test_recorded_samples():
    for seconds in recorded("maml").values():
        summary = summarise(seconds)
        assert summary.low <= summary.median <= summary.high and summary.relative_width < 0.02
    assert summarise(recorded_once("few")).relative_width > 1  # the range of six, one of them five times the others


def test_one_outlier_moves_neither_median_nor_interval():
    calm = [1.0 + 0.001 * i for i in range(30)]
    struck = [*calm[:-1], 50.0]
    assert summarise(struck).median == summarise(calm).median
    assert summarise(struck).high == summarise(calm).high


def test_mean_interval_is_the_published_one():
    """Few-shot results are published as the mean ± 1.96 σ/√n: of many tasks, far from 0 and 1, it is hardly another."""
    values = np.random.default_rng(1).integers(0, 6, 600) / 5
    half = 1.96 * values.std(ddof=1) / math.sqrt(600)
    mean = mean_interval(values, "accuracy")
    assert (mean.value, mean.n) == (pytest.approx(values.mean()), 600)
    assert (mean.low, mean.high) == pytest.approx((mean.value - half, mean.value + half), abs=0.03 * half)
    assert mean_interval([0.5], "accuracy").low == mean_interval([0.5], "mse").high == 0.5


@pytest.mark.parametrize(("right", "answers"), [(600, 600), (0, 600), (45, 50), (599, 600)])
def test_an_accuracy_of_one_answer_a_task_has_wilsons_interval(right, answers):
    expected = binomtest(right, answers).proportion_ci(0.95, "wilson")
    found = mean_interval([1.0] * right + [0.0] * (answers - right), "accuracy")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=2e-3)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_interval_of_an_error_is_that_of_its_logarithm():
    low, high = ends(0.4, 0.4, 600, "mse")
    assert (low, high) == pytest.approx((0.4 / math.e, 0.4 * math.e))
    assert ends(0.0, 0.0, 600, "mse") == (0.0, 0.0)
    assert ends(1e-100, 1e100, 600, "mse")[0] >= 0  # as a damaged row may have it
