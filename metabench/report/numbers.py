"""Figures as text: as many digits as the interval supports, in a unit that reads well."""

import math
import re
from collections.abc import Sequence
from typing import Self

from metabench.statistics.ratios import Interval

MOST_DIGITS = 4  # significant ones; more are never read
EXACT_DIGITS = 3  # for a figure without an interval
SCORE_DIGITS = 2  # of an error at least, though its interval may support fewer: two means are told apart by them
NOTHING = "–"
"""What stands where nothing was measured."""
UNKNOWN = "?"
"""What stands in brackets where too few samples give no interval."""

TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
BYTE_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "B"))
HUGE = 1e6
SMALLEST = 1e-4  # below, an end of an interval stands as a power of ten
PLAIN_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)


class Valued(str):
    """A figure's text that knows its value, in seconds, bytes or as it is: a page sorts by the value."""

    value: float
    doubt: str = ""
    """What keeps a comparison from a conclusion that its value suggests: `noise` or `drift`."""

    def __new__(cls, text: str, value: float) -> Self:
        made = super().__new__(cls, text)
        made.value = float(value)
        return made

    def __add__(self, mark: str) -> "Valued":
        """The figure with a mark behind it."""
        made = Valued(str(self) + mark, self.value)
        made.doubt = self.doubt
        return made


class Linked(str):
    """A text that leads somewhere on a page: `address` is a file beside the page, or a place on it."""

    address: str

    def __new__(cls, text: str, address: str) -> Self:
        made = super().__new__(cls, text)
        made.address = address
        return made


def true_value(text: str) -> float | None:
    """What a cell of a table sorts by: a figure's value, or the number that the text is; None for all else."""
    if isinstance(text, Valued):
        value = text.value
    elif PLAIN_NUMBER.fullmatch(text):
        value = float(text)
    else:
        return None
    return value if math.isfinite(value) else None


def exact(value: float) -> Valued:
    """A figure without an interval, with three digits."""
    return Valued(trim(value, 0, 0), value)


def percent(share: float) -> str:
    """A share in percent, with two digits, and all of those before the point."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def trim(value: float, low: float, high: float) -> str:
    """`value` to the first digit of half the interval's width: 1.234567 in [1.21, 1.26] is 1.23.

    One digit more where that first digit is a 1, or rounding would eat up to half of the interval. At most four
    significant digits; three where low equals high or nothing is known, which says nothing of the digits.
    """
    return _fixed(value, _decimals(value, low, high))


def _decimals(value: float, low: float, high: float, least: int = 1) -> int:
    """How many decimals are shown; negative: that many zeros before the point.

    `least` digits at least of what is above 0, though the interval may support fewer: no time reads as 0.
    """
    half = (high - low) / 2
    if not 0 < half < math.inf:
        return EXACT_DIGITS - 1 - _leading(value, EXACT_DIGITS)
    leading = _leading(value, MOST_DIGITS)
    supported = _first_decimal(half)
    if low > 0:
        supported = max(supported, least - 1 - leading)
    return min(supported, MOST_DIGITS - 1 - leading) if value else supported


def _leading(value: float, digits: int) -> int:
    """The power of ten of the first digit, once a value is rounded to `digits` of them: 0 for 0.9999, read 1.00."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def _first_decimal(half: float) -> int:
    """The decimal of the first digit of a half-width, or of the second if the first is a 1."""
    exponent = math.floor(math.log10(half))
    return -exponent + (half < 2 * 10.0**exponent)


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):.{max(decimals, 0)}f}"
    # no interval turns a zero negative
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(figure: Interval, scale: float = 1.0, unit: str = "", least: int = 1) -> Valued:
    """`1.23 [1.21, 1.26]`, or with a unit `1.23 ms [1.21, 1.26]`, after division by `scale`; `[?]` if not known.

    The figure has `least` digits at least, if all of it is above 0.
    """
    value, low, high = figure.value / scale, figure.low / scale, figure.high / scale
    decimals = _decimals(value, low, high, least)
    shown = _fixed(value, decimals) + (f" {unit}" if unit else "")
    ends = f"{_least_end(low, decimals)}, {_fixed(high, decimals)}" if figure.known else UNKNOWN
    return Valued(f"{shown} [{ends}]", figure.value)


def _least_end(low: float, decimals: int) -> str:
    """The lower end of an interval; with one digit of its own where it is above 0 and would read as 0."""
    if low > 0 and float(_fixed(low, decimals)) == 0:
        return f"{low:.0e}" if low < SMALLEST else _fixed(low, -math.floor(math.log10(low)))
    return _fixed(low, decimals)


def in_unit(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The unit, of those given from the largest on, in which a value reads well: its size and its name."""
    return next((unit for unit in units if abs(value) >= unit[0]), units[-1])


def time_text(figure: Interval) -> Valued:
    """A time given in seconds, with its interval, in µs, ms or s."""
    return with_interval(figure, *in_unit(figure.value, TIME_UNITS))


def duration_text(seconds: float) -> Valued:
    """A time without an interval: three digits in µs, ms, s, and from two minutes on in min."""
    if seconds >= 120:
        return Valued(f"{trim(seconds / 60, 0, 0)} min", seconds)
    scale, unit = in_unit(seconds, TIME_UNITS)
    return Valued(f"{trim(seconds / scale, 0, 0)} {unit}", seconds)


def bytes_text(count: int) -> Valued:
    """Bytes with three digits in B, KiB, MiB or GiB."""
    scale, unit = in_unit(count, BYTE_UNITS)
    return Valued(f"{count} B" if scale == 1 else f"{trim(count / scale, 0, 0)} {unit}", count)


def quality_text(score: Interval, metric: str) -> Valued:
    """A score with its interval: accuracy in %, anything else as it is."""
    if metric == "accuracy":
        return with_interval(score, 0.01, "%")
    if max(abs(score.value), abs(score.high)) >= HUGE:  # an adaptation that overshot: orders of magnitude say all
        return Valued(f"{score.value:.1g} [{score.low:.1g}, {score.high:.1g}]", score.value)
    return with_interval(score, least=SCORE_DIGITS)


def signed_quality_text(difference: Interval, metric: str) -> Valued:
    """A difference of scores with its interval and its sign: of accuracies in percentage points."""
    text = with_interval(difference, 0.01, "pp") if metric == "accuracy" else quality_text(difference, metric)
    return text if difference.value < 0 else Valued(f"+{text}", text.value)


def contrast_text(figure: Interval, metric: str) -> Valued:
    """What two scores differ by: accuracies by their difference, errors by their quotient."""
    return signed_quality_text(figure, metric) if metric == "accuracy" else with_interval(figure, least=SCORE_DIGITS)


def error_text(error: float | None) -> str:
    """A relative error, as a power of ten; a missing one was not finite."""
    return "not finite" if error is None or not math.isfinite(error) else Valued(f"{error:.1e}", error)
