"""Ranges as text: two digits, one unit."""

import math

from metabench.forecast.model import Span
from metabench.report.numbers import TIME_UNITS


def two(value: float) -> str:
    """With two significant digits, and no exponent."""
    if not value:
        return "0"
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def span_text(found: Span, unit: str = "") -> str:
    """`1.2 to 3.4`, or once what is the same at both ends."""
    return " to ".join(dict.fromkeys((two(found.low), two(found.high)))) + unit


def time_span(found: Span) -> str:
    """The same of seconds, in the unit of the higher end."""
    scale, unit = next((pair for pair in TIME_UNITS if found.high >= pair[0]), TIME_UNITS[-1])
    return span_text(Span(found.low / scale, found.high / scale), f" {unit}")


def share_text(share: float) -> str:
    """A share of 1 in whole percent."""
    return f"{round(100 * share)} %"


def change_text(share: float) -> str:
    """The same with its sign."""
    percent = round(100 * share)
    return f"{percent:+} %" if percent else "0 %"
