"""Steps in a line: found where they are, and not where there is noise alone or one outlier."""

import math

import numpy as np
import pytest

from metabench.statistics.changepoints import change_points

NOISE = 0.03
HALF = 0.06  # of a 95 % interval, for that noise


def lines(count: int, of: int, seed: int = 0, tails: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return NOISE * (generator.standard_t(tails, (of, count)) if tails else generator.normal(size=(of, count)))


def found(line, floor: float = 0.0, half: float = HALF) -> list[int]:
    return change_points(line, [half] * len(line), floor)


def test_one_step_up_and_one_down_by_hand():
    line = [0.0, 0.01, -0.01, 0.0, 0.3, 0.31, 0.29, 0.3, 0.3, 0.0, 0.01, 0.0]
    assert found(line) == [4, 9]
    assert found(line, floor=0.29) == [4, 9]
    assert found(line, floor=0.31) == []  # no step below the noise floor
    assert found(line, half=0.25) == []  # √2 · 0.25 = 0.35: nor within the intervals


@pytest.mark.parametrize("count", [5, 10, 25])
def test_noise_alone_has_no_step(count):
    for tails in (0.0, 3.0):
        false = [found(line) for line in lines(count, of=100, tails=tails)]
        assert sum(map(bool, false)) <= 3


@pytest.mark.parametrize("at", [2, 6, 10])
def test_a_step_of_a_quarter_is_found_where_it_is(at):
    places = [found(line + np.where(np.arange(12) >= at, math.log(1.25), 0)) for line in lines(12, of=60)]
    assert np.mean([len(place) == 1 and abs(place[0] - at) <= 1 for place in places]) > 0.95


@pytest.mark.parametrize("at", [0, 5, 11])
def test_one_outlier_is_no_step(at):
    for line in lines(12, of=60, seed=1):
        line[at] += 1.0
        assert found(line) == []


def test_the_newest_measurement_alone_is_not_confirmed_yet():
    assert found([0.0, 0.01, -0.01, 0.0, 0.01, 0.4]) == []
    assert found([0.0, 0.01, -0.01, 0.0, 0.01, 0.4, 0.41]) == [5]


def test_too_few_measurements_and_none_that_differ():
    assert found([0.0, 0.0, 1.0]) == []
    assert found([]) == []
    assert found([0.5] * 10, half=0.0) == []
