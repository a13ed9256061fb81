"""Crossings of curves on which they are known."""

import math

import pytest

from metabench.record.quality import CurvePoint
from metabench.statistics.crossing import crossing


def curve(*values):
    return [CurvePoint(100 * i, 2.0 * i, value=value) for i, value in enumerate(values)]


def error(value, *values):
    """The crossing of a curve that gets better as it falls."""
    return crossing(curve(*values), value, falls=True)


def test_an_error_that_falls_by_a_factor_is_met_on_its_way():
    """exp(-t): from 1 to e^-4 in four points; the error of e^-2.5 is met at 2.5 points."""
    found = error(math.exp(-2.5), *(math.exp(-i) for i in range(5)))
    assert (found.iterations, found.seconds) == pytest.approx((250, 5.0))
    accuracies = curve(*(1 - math.exp(-i) for i in range(5)))
    assert crossing(accuracies, 1 - math.exp(-2.5), falls=False).iterations == pytest.approx(250)


def test_the_first_crossing_counts():
    assert error(2, 4, 1, 4, 0.5).iterations == pytest.approx(50)
    assert error(2, 4, 2, 1).iterations == pytest.approx(100)
    assert error(2, 1, 0.5).iterations == 0
    assert error(2, 4, 3) is None
    assert error(2, 4, None, 1).iterations == 200  # from nothing finite no line is drawn
    assert error(1, 2, 0).iterations == pytest.approx(50)  # an error of 0 has no logarithm
    assert error(1) is None
