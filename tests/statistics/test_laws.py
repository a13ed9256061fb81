"""Laws of growth on figures whose true law is known."""

import math

import numpy as np
import pytest

from metabench.statistics.intervals import Interval
from metabench.statistics.laws import fit, left_at
from metabench.statistics.spread import Spread, spread_of_pairs

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


def test_the_size_at_which_a_law_ends_is_told():
    cheap = {0: {s: 3.0 * s for s in (1.0, 10.0, 100.0)}}
    assert left_at({0: cheap[0] | {1e3: 3000.0, 1e4: 30_000.0}}) is None
    assert left_at({0: cheap[0] | {1e3: 3000.0, 1e4: 60_000.0}}) == 1e4  # twice as dear
    assert left_at({0: cheap[0] | {1e3: 3600.0, 1e4: 30_000.0}}) == 1e3
    assert left_at({0: cheap[0] | {1e3: 3150.0}}) is None  # 5 % are nothing
    assert left_at(cheap) is None  # no size beyond the law
    assert left_at({0: {1.0: 5.0, 10.0: 1.0, 100.0: 9.0, 1000.0: 2.0}}) == 100  # no law passes the first three
    fixed = {0: {s: 2.0 + 0.5 * s for s in (1.0, 10.0, 100.0, 1000.0)}}
    assert left_at(fixed) is None


def test_a_law_that_is_not_known_well_ends_nowhere():
    """Three rounds that differ so much that twice the figure lies in the interval of what the law says."""
    rounds = {n: {s: s * f for s, f in zip((1.0, 10.0, 100.0), fs, strict=True)}
              for n, fs in enumerate([(1.0, 1.6, 0.7), (1.5, 0.7, 1.2), (0.7, 1.1, 1.6)])}  # fmt: skip
    assert left_at({n: points | {1e3: 2e3} for n, points in rounds.items()}) is None
    assert left_at({n: points | {1e3: 1e5} for n, points in rounds.items()}) == 1e3


@pytest.mark.parametrize(("deviation", "rounds"), [(0.06, 1), (0.06, 3), (0.12, 1), (0.12, 3)])
def test_noise_ends_few_laws(deviation, rounds):
    """Seven sizes of a figure that grows linearly: all four beyond the first three may end the law, 5 % in all do."""
    generator = np.random.default_rng(0)

    def ended() -> bool:
        noise = spread_of_pairs([tuple(generator.normal(0, deviation, 2)) for _ in range(5)])
        logs = generator.normal(0, deviation, (rounds, 7))
        sizes = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
        return (
            left_at({n: dict(zip(sizes, sizes * np.exp(logs[n]), strict=True)) for n in range(rounds)}, noise)
            is not None
        )

    assert sum(ended() for _ in range(200)) < 30


def test_two_exact_figures_that_do_not_change_are_constant():
    law = fit({0: {4.0: 1e6, 8.0: 1e6}})
    assert (law.form, law.exponent.interval) == ("constant", Interval(0, 0, 0))
    assert fit({0: {4.0: 1e6, 8.0: 1e6 + 8}}).form == "power"
    assert fit({0: {4.0: 1e6, 8.0: 1e6 + 8}}).exponent.interval is None


def test_a_line_is_the_law_where_a_power_law_misses_it():
    # the exponents from point to point are 0.37, 0.66 and 0.82: no power has them all
    law = fit(line([2.0 + 0.5 * s for s in SIZES], rounds=3, drift=(1.0, 1.1, 0.9)))
    assert law.form == "line" and law.missed
    assert law.local == pytest.approx(math.log(7 / 4.5) / math.log(2))
    assert law.at(20).value == pytest.approx(12 * (1.1 * 0.9) ** (1 / 3), rel=0.01)
    assert fit(line([s**0.7 for s in SIZES])).form == "power"
    bent = fit(line([1.0, 1.1, 1.3, 4.0]))
    assert bent.form == "none" and bent.missed  # neither law passes


def test_a_line_is_the_law_where_it_has_an_intercept_and_fits_better():
    """Rounds that differ by a tenth let a power law pass, too."""
    drift = {0: (1.0, 1.1, 0.9, 1.0), 1: (1.1, 0.95, 1.0, 1.0), 2: (0.95, 1.0, 1.1, 1.0)}
    rounds = {n: {s: (2 + 0.5 * s) * f for s, f in zip(SIZES, factors, strict=True)} for n, factors in drift.items()}
    law = fit(rounds)
    assert not law.missed and law.fixed.interval.low > 0
    assert law.form == "line"


def test_a_power_law_that_explains_little_is_none():
    flat = fit(line([1.00, 1.03, 0.99, 1.02]))  # exact figures, each within 5 % of a power law
    assert not flat.missed and flat.r_squared < 0.98
    assert flat.form == "none"
    noisy = fit({n: {s: 1 + 0.03 * ((7 * n + int(s)) % 5 - 2) for s in SIZES} for n in range(3)})
    assert noisy.form == "line" and noisy.each.interval.low < 0 < noisy.each.interval.high


def test_the_interval_holds_the_misfit_of_a_law_that_misses():
    """Three calm rounds on a bend: the rounds alone would say that the exponent is known to the third digit."""
    values = [1.0, 1.05, 1.3, 3.0]
    law = fit(line(values, rounds=3, drift=(1.0, 1.001, 0.999)))
    assert law.power.bent and law.exponent.interval.high - law.exponent.interval.low > 0.5
    exact = fit(line(values))
    assert exact.power.bent is None
    found = (law.exponent.interval, exact.exponent.interval)
    assert found[0].low == pytest.approx(found[1].low, abs=0.01)  # a time and exact memory have one meaning of 95 %
    assert found[0].high == pytest.approx(found[1].high, abs=0.01)


def test_the_interval_of_one_round_holds_the_noise_floor():
    noise = Spread(0.05, 9.0)
    two = fit({0: {1.0: 2.0, 4.0: 8.0}}, noise)
    # the slope is the difference over ln 4: t(9) = 2.26216, times 0.05 √2 / 1.38629
    assert two.exponent.interval.high - two.exponent.value == pytest.approx(
        2.26216 * 0.05 * math.sqrt(2) / math.log(4), rel=1e-4
    )
    calm = fit(line([s**0.7 for s in SIZES], rounds=3, drift=(1.0, 1.0, 1.0)), noise)
    gain = 1 / math.sqrt(np.sum((np.log(SIZES) - np.mean(np.log(SIZES))) ** 2))
    half = 2.20099 * math.sqrt(9 / 11) * 0.05 * gain / math.sqrt(3)  # pooled with three rounds that agree: t(11)
    assert calm.exponent.interval.high - calm.exponent.value == pytest.approx(half, rel=1e-4)


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


def test_sizes_without_a_common_round_are_fitted_by_their_means():
    found = {0: {1.0: 2.0}, 1: {1.0: 8.0, 2.0: 8.0}, 2: {4.0: 16.0}}
    law = fit(found, Spread(0.05, 10))
    assert (law.rounds, law.tried, law.values) == (0, 3, pytest.approx((4.0, 8.0, 16.0)))
    assert law.exponent.value == pytest.approx(1)
    assert law.exponent.interval == fit({0: {1.0: 4.0, 2.0: 8.0, 4.0: 16.0}}, Spread(0.05, 10)).exponent.interval
    whole = fit({number: {1.0: 1.0, 2.0: 2.0} for number in range(3)})
    assert (whole.rounds, whole.tried) == (3, 3)


@pytest.mark.parametrize(
    ("sizes", "rounds", "noise"),
    [(4, 3, 0.02), (4, 5, 0.1), (2, 3, 0.05), (4, 1, 0.05), (6, 2, 0.05)],
)
@pytest.mark.parametrize("pairs", [0, 5])
def test_intervals_of_the_exponent_cover_the_truth_as_often_as_they_say(sizes, rounds, noise, pairs):
    generator = np.random.default_rng(sizes * 10 + rounds)
    x = np.geomspace(1, 32, sizes)
    truth, runs, held = 0.8, 800, 0
    for _ in range(runs):
        drift = generator.normal(0, 0.3, (rounds, 1))
        y = 5e-3 * x**truth * np.exp(drift + generator.normal(0, noise, (rounds, sizes)))
        known = spread_of_pairs(generator.normal(0, noise, (pairs, 2))) if pairs else None
        law = fit({r: dict(zip(x.tolist(), y[r].tolist(), strict=True)) for r in range(rounds)}, known)
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
