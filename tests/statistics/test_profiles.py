"""Performance profiles whose areas are known."""

import math
from itertools import pairwise

import pytest

from metabench.statistics.profiles import NEVER, Curve, curves_of, in_common


def test_the_area_is_that_under_the_drawn_line():
    curve = Curve("x", ({0: 1.0, 1: 2.0}, {0: 3.0, 1: 20.0}, {0: NEVER, 1: 1.0}))
    steps, area = [1.0, 2.0, 3.0, 10.0], 0.0
    for left, right in pairwise(steps):
        area += curve.within(left) * math.log(right / left)
    assert curve.area(10).value == pytest.approx(area / math.log(10))


def test_the_interval_is_students_over_replicates():
    curve = Curve("x", ({0: 1.0, 1: 10.0, 2: math.sqrt(10)},))  # areas of 1, 0 and a half up to 10
    area = curve.area(10)
    half = 4.302653 * 0.5 / math.sqrt(3)
    assert area.value == pytest.approx(0.5)
    assert (area.low, area.high) == pytest.approx((max(0, 0.5 - half), min(1, 0.5 + half)), rel=1e-6)


def test_names_that_were_tried_least_often_are_left_out():
    costs = {setting: {"a": {0: 1.0}, "b": {0: 2.0}} for setting in ("x", "y")}
    costs["y"] |= {"c": {0: 0.1}}
    assert in_common(costs) == (["a", "b"], ["x", "y"])
    assert in_common({"x": costs["x"]})[0] != ["a", "b"]  # one setting is no profile


def test_ratios_are_formed_within_a_replicate():
    """What fails has no ratio; where all fail there is no curve."""
    settings = [{"a": {0: 1.0, 1: 4.0}, "b": {0: 3.0, 1: 2.0}}, {"a": {0: 1.0, 1: 1.0}, "b": {0: NEVER, 1: 1.0}}]
    a, b = curves_of(settings, ["a", "b"])
    assert a.ratios == ({0: 1.0, 1: 2.0}, {0: 1.0, 1: 1.0}) and b.ratios == ({0: 3.0, 1: 1.0}, {0: NEVER, 1: 1.0})
    assert curves_of([{"a": {0: NEVER}, "b": {0: NEVER}}] * 2, ["a", "b"]) == []


def test_what_is_slower_than_a_best_that_took_no_time_has_not_failed():
    settings = [{"a": {0: 0.0, 1: 0.0}, "b": {0: 3.0, 1: NEVER}}, {"a": {0: 2.0, 1: 0.0}, "b": {0: 1.0, 1: 0.0}}]
    a, b = curves_of(settings, ["a", "b"])
    assert (a.never, b.never) == (0, pytest.approx(1 / 4))
    assert b.ratios == ({0: NEVER, 1: NEVER}, {0: 1.0, 1: 1.0}) and b.within(1e6) == pytest.approx(1 / 2)
    assert (a.within(1.0), a.within(2.0)) == (pytest.approx(3 / 4), 1)


def test_every_replicate_of_a_setting_counts_and_every_setting_as_much():
    """One setting has one replicate, the other three: no replicate is dropped, and no setting outweighs the other."""
    settings = [
        {"a": {0: 1.0}, "b": {0: 2.0}},
        {"a": {0: 1.0, 1: NEVER, 2: NEVER}, "b": {0: 4.0, 1: 1.0, 2: 1.0}},
    ]
    a, b = curves_of(settings, ["a", "b"])
    assert a.within(1.0) == pytest.approx((1 + 1 / 3) / 2) and a.never == pytest.approx((0 + 2 / 3) / 2)
    assert b.within(1.0) == pytest.approx((0 + 2 / 3) / 2) and b.never == 0
    assert a.replicates == [] and a.area(10).low == a.area(10).high == pytest.approx((1 + 1 / 3) / 2)
