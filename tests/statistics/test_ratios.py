"""Ratios against hand-computed values, samples of known ratio, and recorded ones."""

import math
import random

import numpy as np
import pytest

from metabench.report.numbers import time_text, with_interval
from metabench.statistics.intervals import Interval, summarise
from metabench.statistics.ratios import ratio_interval, step_interval, time_interval
from recorded import RUNS, TARGET, recorded

RECORDED = {
    # The same work in two processes a round, µs per call: an A/A comparison.
    "a": {
        0: [469.1, 497.6, 491.2, 484.9, 462.6, 464.0, 463.8, 464.7, 455.6, 459.0],
        1: [462.8, 468.1, 451.9, 467.3, 457.8, 456.2, 459.8, 452.5, 462.4, 452.5],
        2: [460.3, 460.7, 453.7, 461.6, 454.1, 461.4, 452.3, 460.5, 460.4, 463.9],
    },
    "b": {
        0: [457.4, 456.0, 454.3, 456.5, 448.0, 451.5, 446.3, 455.8, 455.8, 446.3],
        1: [450.3, 460.7, 449.5, 456.0, 448.7, 458.6, 459.9, 449.9, 456.4, 448.8],
        2: [469.0, 461.5, 454.8, 474.0, 457.8, 465.2, 452.1, 459.2, 457.1, 459.7],
    },
}


def noisy(centre: float, n: int, generator: random.Random, sigma: float = 0.05) -> list[float]:
    return [centre * math.exp(generator.gauss(0, sigma)) for _ in range(n)]


def test_the_geometric_mean_of_the_ratios_of_medians():
    # medians 2 and 8 over 1 and 1: √(2 · 8) = 4. Rounds are not drawn anew, so samples that agree leave no doubt.
    ratio = ratio_interval({0: [1.0, 2.0, 9.0], 1: [8.0]}, {0: [1.0], 1: [1.0]})
    assert ratio.value == pytest.approx(4)
    exact = ratio_interval({0: [2.0] * 6, 1: [8.0] * 6}, {0: [1.0] * 6, 1: [1.0] * 6})
    assert (exact.low, exact.high, exact.rounds) == (pytest.approx(4), pytest.approx(4), 2)


def test_too_few_samples_have_no_interval():
    six, five = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [2.0, 2.1, 2.2, 2.3, 2.4]
    assert ratio_interval({0: six, 1: six}, {0: six, 1: six}).known
    for sides in [({0: five}, {0: six}), ({0: six}, {0: five}), ({0: six, 1: five}, {0: six, 1: six})]:
        ratio = ratio_interval(*sides)
        assert (ratio.low, ratio.high) == (0, math.inf) and not ratio.known
        assert (ratio.drawn.low, ratio.drawn.high) == (ratio.value, ratio.value)
    assert time_interval({0: six}).known and not time_interval({0: five}).known
    assert ratio_interval({0: five, 1: five, 2: six}, {0: six, 1: six, 2: six}).known  # over three rounds
    assert step_interval(summarise(six)) == Interval(1.25, 1.0, 1.5)
    assert step_interval(summarise(five)) == Interval(2.2, 0, math.inf)
    assert with_interval(ratio_interval({0: five}, {0: six})) == "1.76 [?]"
    assert time_text(time_interval({0: five})) == "2.20 s [?]"


def test_three_rounds_have_students_interval():
    # Logarithms to base 2: 0, 1 and 2, with a deviation of 1; t(2) = 4.30265, so ± 4.30265 / √3 = 2.48414.
    ratio = ratio_interval({0: [1.0], 1: [2.0], 2: [4.0]}, {0: [1.0], 1: [1.0], 2: [1.0]})
    assert ratio.value == pytest.approx(2)
    assert ratio.high == pytest.approx(2 * 2**2.48414, rel=1e-4)
    assert ratio.low == pytest.approx(2 / 2**2.48414, rel=1e-4)


PROCESSES = {
    "alike": lambda g, n: np.zeros((n, 1)),
    "normal": lambda g, n: g.normal(0, 0.03, (n, 1)),
    "skewed": lambda g, n: g.exponential(0.03, (n, 1)),
    "heavy-tailed": lambda g, n: 0.02 * g.standard_t(3, (n, 1)),
}
"""How the logarithm of a time differs from process to process."""


@pytest.mark.parametrize("within", [0.003, 0.05])
@pytest.mark.parametrize("rounds", [3, 5])
@pytest.mark.parametrize("law", PROCESSES)
def test_the_interval_over_rounds_covers_what_it_says(law, rounds, within):
    """2 000 runs: two processes a round, 15 samples each, on a machine that is as much as twice as slow in a round."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(RUNS):
        machine = generator.uniform(1, 2, (rounds, 1))
        sides = [
            machine * np.exp(PROCESSES[law](generator, rounds) + generator.normal(0, within, (rounds, 15)))
            for _ in "ab"
        ]
        ratio = ratio_interval(*(dict(enumerate(side.tolist())) for side in sides))
        covered += ratio.low <= 1 <= ratio.high
    assert TARGET[0] <= covered / RUNS <= TARGET[1]


def test_drift_that_hits_both_sides_of_a_round_cancels():
    generator = random.Random(1)
    drift = [1.0, 2.0, 0.5, 1.4]
    slow = {i: noisy(0.6e-3 * d, 31, generator, 0.01) for i, d in enumerate(drift)}
    fast = {i: noisy(1e-3 * d, 31, generator, 0.01) for i, d in enumerate(drift)}
    ratio = ratio_interval(slow, fast)
    assert ratio.low < 0.6 < ratio.high
    assert ratio.high / ratio.low < 1.03
    assert time_interval(slow).high / time_interval(slow).low > 1.5  # the time itself did drift


def test_only_common_rounds_count():
    ratio = ratio_interval({0: [100.0], 1: [3.0], 3: []}, {1: [2.0], 2: [1.0], 3: [1.0]})
    assert (ratio.value, ratio.rounds) == (pytest.approx(1.5), 1)
    assert ratio_interval({0: [1.0]}, {0: []}) is None
    assert ratio_interval({}, {}) is None


def test_sides_without_a_common_round_are_divided_as_two_times():
    # Logarithms to base 2 of one side: 0, 1 and 2, ± 2.48414; of the other: 3 each time, ± 0.
    sides = {0: [1.0], 1: [2.0], 2: [4.0]}, {3: [8.0], 4: [8.0], 5: [8.0]}
    ratio = ratio_interval(*sides)
    assert (ratio.value, ratio.rounds) == (pytest.approx(1 / 4), 0)
    assert (ratio.low, ratio.high) == (pytest.approx(2**-4.48414, rel=1e-4), pytest.approx(2**0.48414, rel=1e-4))
    both = ratio_interval(sides[0], {3: [1.0], 4: [2.0], 5: [4.0]})
    assert both.high == pytest.approx(2 ** (math.sqrt(2) * 2.48414), rel=1e-4)  # in quadrature
    assert not ratio_interval({0: [1.0]}, {1: [1.0]}).known
    # Rounds of equal number in two runs are not one round.
    assert ratio_interval({("A", 0): [2.0] * 6}, {("B", 0): [1.0] * 6}).rounds == 0


def test_the_interval_of_one_round_covers_the_noise_within_processes():
    generator = random.Random(7)
    covered = 0
    for _ in range(400):
        ratio = ratio_interval({0: noisy(3.0, 25, generator)}, {0: noisy(2.0, 25, generator)})
        covered += ratio.low <= 1.5 <= ratio.high
    assert TARGET[0] <= covered / 400 <= TARGET[1] + 0.01


def test_recorded_samples_of_two_algorithms():
    ratio = ratio_interval(recorded("reptile"), recorded("maml"))
    assert 0.45 < ratio.low < ratio.value < ratio.high < 0.6  # about one half, though each round had its own speed


def test_recorded_samples_of_equal_work_have_a_ratio_of_one():
    ratio = ratio_interval(RECORDED["a"], RECORDED["b"])
    # medians of the rounds, by hand: 464.35 / 455.05, 458.8 / 453.15, 460.45 / 459.45
    assert ratio.value == pytest.approx((464.35 / 455.05 * 458.8 / 453.15 * 460.45 / 459.45) ** (1 / 3))
    assert 0.95 < ratio.low < 1 < ratio.high < 1.1
    assert ratio.rounds == 3


def test_the_same_seed_gives_the_same_interval():
    a, b = ({0: RECORDED[side][0]} for side in "ab")
    first, again = (ratio_interval(a, b) for _ in range(2))
    assert first == again
    assert first != ratio_interval(a, b, seed=1)


def test_times_agree_with_their_ratio_and_lie_in_their_interval():
    a, b = time_interval(RECORDED["a"]), time_interval(RECORDED["b"])
    assert a.value / b.value == pytest.approx(ratio_interval(RECORDED["a"], RECORDED["b"]).value)
    # a median of the rounds' medians (1) would lie outside of a mean of their intervals
    jumpy = time_interval({0: [1.0], 1: [1.0], 2: [8.0]})
    assert jumpy.value == pytest.approx(2)
    assert jumpy.low <= jumpy.value <= jumpy.high
    assert time_interval({}) is None
