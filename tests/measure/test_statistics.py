import math

import numpy as np
import pytest
from scipy.stats import binom

from metabench.measure.statistics import mean_interval, median_interval, summarise


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


@pytest.mark.parametrize("law", ["lognormal", "bimodal", "heavy"])
def test_coverage_on_two_thousand_synthetic_runs(law):
    generator = np.random.default_rng(7)
    draw, truth = {
        "lognormal": (lambda: generator.lognormal(0, 0.3, 60), 1.0),
        "bimodal": (lambda: np.where(generator.random(60) < 0.7, 1, 3) + generator.normal(0, 0.1, 60), None),
        "heavy": (lambda: generator.standard_t(2, 60) + 10, 10.0),
    }[law]
    if truth is None:
        big = np.where(generator.random(2_000_000) < 0.7, 1, 3) + generator.normal(0, 0.1, 2_000_000)
        truth = float(np.median(big))
    covered = 0
    for _ in range(2000):
        low, high = median_interval(np.sort(draw()))
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.98


def test_one_outlier_moves_neither_median_nor_interval():
    calm = [1.0 + 0.001 * i for i in range(30)]
    struck = [*calm[:-1], 50.0]
    assert summarise(struck).median == summarise(calm).median
    assert summarise(struck).high == summarise(calm).high


def test_mean_interval_is_the_published_one():
    values = [0.8, 1.0, 0.6, 1.0]
    mean = mean_interval(values)
    sigma = math.sqrt(sum((v - 0.85) ** 2 for v in values) / 3)
    assert mean.value == pytest.approx(0.85)
    assert mean.high - mean.value == pytest.approx(1.96 * sigma / 2)
    assert mean.n == 4
    assert mean_interval([0.5]).low == 0.5
