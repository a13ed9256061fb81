"""Digits that the interval supports, in units that read well."""

import math

import pytest

from metabench.report.numbers import (
    bytes_text,
    contrast_text,
    duration_text,
    error_text,
    quality_text,
    time_text,
    trim,
    with_interval,
)
from metabench.statistics.ratios import Interval


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.234567, 1.21, 1.26, "1.23"),  # half the width is 0.025
        (1.234567, 1.234, 1.235, "1.235"),  # 0.0005 would allow four decimals; four digits are enough
        (1.234567, 1.0, 1.5, "1.2"),
        (1.234567, 1.1, 1.4, "1.23"),  # 0.15: the first digit is a 1, so one more
        (1.234567, -3.0, 5.0, "1"),
        (1234.567, 1200.0, 1270.0, "1230"),
        (98765.4, 90000.0, 107000.0, "99000"),
        (0.00123456, 0.00120, 0.00127, "0.00123"),
        (-1.234567, -1.26, -1.21, "-1.23"),
        (1.234567, 1.234567, 1.234567, "1.23"),  # no interval: three digits
        (0.9999999999999998, 0.0, 0.0, "1.00"),  # as 1 is: rounding differs from processor to processor
        (9.996, 9.996, 9.996, "10.0"),
        (0.99996, 0.99995, 0.99997, "1.000"),
        (0.0, 0.0, 0.0, "0.00"),
        (0.004, -0.3, 0.3, "0.0"),
        (4.79, 1.0, 271.0, "5"),
        (-0.004, -0.3, 0.3, "0.0"),
        (0.0, -0.3, 0.3, "0.0"),
    ],
)
def test_trim(value, low, high, text):
    assert trim(value, low, high) == text


def test_rounding_never_hides_more_than_half_of_the_interval():
    for i in range(1, 400):
        half = 10 ** (-4 + i / 100)
        value = 0.123456789 + i
        if half < 1e-3 * value:
            continue  # there the limit of four digits rules
        assert abs(float(trim(value, value - half, value + half)) - value) <= 0.5 * half


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (Interval(2.34e-3, 2.31e-3, 2.36e-3), "2.34 ms [2.31, 2.36]"),
        (Interval(2.34e-6, 2.31e-6, 2.36e-6), "2.34 µs [2.31, 2.36]"),
        (Interval(2.34e-8, 2.31e-8, 2.36e-8), "0.0234 µs [0.0231, 0.0236]"),
        (Interval(2.34, 2.31, 2.36), "2.34 s [2.31, 2.36]"),
        (Interval(0.5, 0.4, 1.6), "500 ms [400, 1600]"),
    ],
)
def test_times_and_their_units(seconds, text):
    assert time_text(seconds) == text


def test_a_ratio_with_its_interval():
    assert with_interval(Interval(0.6004, 0.59, 0.612)) == "0.600 [0.590, 0.612]"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1_572_864, "1.50 MiB"),
        (999 * 1024**2, "999 MiB"),
        (3 * 1024**3, "3.00 GiB"),
    ],
)
def test_bytes(count, text):
    assert bytes_text(count) == text


def test_durations():
    texts = [duration_text(seconds) for seconds in (0.0123, 12.34, 119.6, 150.0, 7260.0)]
    assert texts == ["12.3 ms", "12.3 s", "120 s", "2.50 min", "121 min"]


def test_quality():
    assert quality_text(Interval(0.9876, 0.9846, 0.9906), "accuracy") == "98.8 % [98.5, 99.1]"
    assert quality_text(Interval(0.9876, 0.9862, 0.9890), "accuracy") == "98.76 % [98.62, 98.90]"
    assert quality_text(Interval(0.99987, 0.99983, 0.99991), "accuracy") == "99.99 % [99.98, 99.99]"
    assert quality_text(Interval(0.674, 0.60, 0.748), "mse") == "0.67 [0.60, 0.75]"
    assert quality_text(Interval(0.37, 0.15, 0.90), "mse") == "0.37 [0.15, 0.90]"  # two digits: 0.38 is another mean
    assert quality_text(Interval(0.37, 0.004, 30.0), "mse") == "0.37 [0.004, 30.00]"  # no end above 0 reads as 0
    assert with_interval(Interval(400.0, 20.0, 900.0)) == "400 [20, 900]"
    assert quality_text(Interval(1.0, 0.9936, 1.0), "accuracy") == "100.0 % [99.4, 100.0]"
    assert quality_text(Interval(1.0, 1.0, 1.0), "accuracy") == "100 % [100, 100]"


def test_errors():
    assert error_text(3.14e-15) == "3.1e-15"
    assert error_text(None) == error_text(math.nan) == "not finite"


def test_a_score_of_an_adaptation_that_overshot_is_an_order_of_magnitude():
    assert quality_text(Interval(1.9e25, -9e25, 13e25), "mse") == "2e+25 [-9e+25, 1e+26]"
    assert quality_text(Interval(29.0, 8e-8, 1e10), "mse") == "3e+01 [8e-08, 1e+10]"
    assert quality_text(Interval(1234.5, 1200.0, 1269.0), "mse") == "1230 [1200, 1270]"


def test_what_two_scores_differ_by():
    assert contrast_text(Interval(0.023, 0.009, 0.037), "accuracy") == "+2.3 pp [0.9, 3.7]"
    assert contrast_text(Interval(-0.023, -0.037, -0.009), "accuracy") == "-2.3 pp [-3.7, -0.9]"
    assert contrast_text(Interval(1.04, 0.98, 1.10), "mse") == "1.04 [0.98, 1.10]"
