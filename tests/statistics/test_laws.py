"""Laws of growth on figures whose true law is known."""

import math

import numpy as np
import pytest

from metabench.statistics.laws import fit

SIZES = (1.0, 2.0, 5.0, 10.0)


def line(values, rounds=1, drift=(1.0,)):
    return {number: {s: v * drift[number] for s, v in zip(SIZES, values, strict=True)} for number in range(rounds)}


def test_a_power_law_without_noise_is_found_again():
    law = fit(line([3e-3 * s**0.7 for s in SIZES]))
    assert law.exponent.value == pytest.approx(0.7)
    assert law.exponent.interval.high - law.exponent.interval.low < 1e-6
    assert law.r_squared == pytest.approx(1)
    assert law.at(20).value == pytest.approx(3e-3 * 20**0.7)


def test_a_straight_line_without_noise_is_found_again():
    law = fit(line([2.0 + 0.5 * s for s in SIZES]))
    assert (law.fixed.value, law.each.value) == pytest.approx((2, 0.5))
    assert law.straight and law.exponent.value < 1
    assert not fit(line([s**2 for s in SIZES])).straight
    assert not fit(line([2 - 0.1 * s for s in SIZES])).straight


def test_a_machine_that_drifts_between_rounds_leaves_the_exponent_alone():
    law = fit(line([s**1.2 for s in SIZES], rounds=3, drift=(1.0, 1.5, 0.8)))
    assert law.exponent.value == pytest.approx(1.2)
    assert law.exponent.interval.high - law.exponent.interval.low < 1e-6
    assert law.rounds == 3
    ends = law.at(5).interval
    assert ends.low < 5**1.2 * (1.5 * 0.8) ** (1 / 3) < ends.high


def test_nothing_that_grows_is_exactly_nothing():
    law = fit(line([1e6] * 4))
    assert law.exponent.value == law.each.value == 0
    assert law.exponent.interval.low == law.exponent.interval.high == 0
    assert law.r_squared is None and not law.straight


def test_a_bend_is_told_from_noise():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.02, (5, 4))

    def noisy(truth):
        return {r: {s: truth(s) * math.exp(e) for s, e in zip(SIZES, noise[r], strict=True)} for r in range(5)}

    assert not fit(noisy(lambda s: 1 + s)).bent
    assert fit(noisy(lambda s: s**0.5)).bent
    assert fit(line([1 + s for s in SIZES])).bent  # one round: not known


def test_two_sizes_have_an_exponent_without_goodness():
    law = fit({0: {1.0: 2.0, 4.0: 8.0}})
    assert law.exponent.value == pytest.approx(1)
    assert law.exponent.interval is law.r_squared is law.each.interval is law.at(2).interval is None
    several = fit({number: {1.0: 2.0, 4.0: 8.0 + number} for number in range(3)})
    assert several.exponent.interval is not None and several.r_squared is None


def test_a_round_that_lacks_a_size_is_left_out():
    points = line(list(SIZES), rounds=2, drift=(1.0, 1.0))
    points[2] = {1.0: 9.0}
    assert fit(points).rounds == 2
    assert fit({0: {1.0: 2.0}}) is None
    assert fit({0: {1.0: 2.0}, 1: {2.0: 2.0}}) is None


@pytest.mark.parametrize(
    ("sizes", "rounds", "noise"), [(4, 3, 0.02), (4, 5, 0.1), (2, 3, 0.05), (4, 1, 0.05), (6, 2, 0.05)]
)
def test_intervals_of_the_exponent_cover_the_truth_as_often_as_they_say(sizes, rounds, noise):
    generator = np.random.default_rng(sizes * 10 + rounds)
    x = np.geomspace(1, 32, sizes)
    truth, runs, held = 0.8, 800, 0
    for _ in range(runs):
        drift = generator.normal(0, 0.3, (rounds, 1))
        y = 5e-3 * x**truth * np.exp(drift + generator.normal(0, noise, (rounds, sizes)))
        law = fit({r: dict(zip(x.tolist(), y[r].tolist(), strict=True)) for r in range(rounds)})
        held += law.exponent.interval.low <= truth <= law.exponent.interval.high
    assert 0.93 <= held / runs <= 0.97


@pytest.mark.parametrize("rounds", [1, 3, 5])
def test_so_do_those_of_the_straight_line(rounds):
    generator = np.random.default_rng(rounds)
    x = np.array([1.0, 2, 5, 10, 20])
    held = np.zeros(2)
    for _ in range(800):
        y = (3 + 0.5 * x) * np.exp(generator.normal(0, 0.02, (rounds, 5)))
        law = fit({r: dict(zip(x.tolist(), y[r].tolist(), strict=True)) for r in range(rounds)})
        found = (law.fixed.interval, 3), (law.each.interval, 0.5)
        held += [interval.low <= true <= interval.high for interval, true in found]
    assert np.all(held / 800 >= 0.93) and np.all(held / 800 <= 0.97)


def test_the_band_around_the_law_covers_it():
    generator = np.random.default_rng(1)
    x, held = np.array([1.0, 3, 10]), 0
    for _ in range(800):
        y = 2 * x**0.5 * np.exp(generator.normal(0, 0.05, (4, 3)))
        ends = fit({r: dict(zip(x.tolist(), y[r].tolist(), strict=True)) for r in range(4)}).at(30).interval
        held += ends.low <= 2 * math.sqrt(30) <= ends.high
    assert 0.93 <= held / 800 <= 0.97
