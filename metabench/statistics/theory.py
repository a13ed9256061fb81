"""A law of growth compared with theory: agrees, differs, or cannot be told."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from metabench.statistics.laws import Law

TheoryVerdict: TypeAlias = Literal["agrees", "differs", "cannot tell"]
ALIKE, ANOTHER = 0.1, 0.5
"""Exponents closer than this are alike; from this on they are another law."""


@dataclass(frozen=True)
class Theory:
    """Expectation of a law."""

    exponent: int
    words: str
    each: float | None = None
    """Cost of each unit, where that is foreseen and not the exponent."""


def verdict(law: Law, expected: Theory) -> TheoryVerdict:
    """Whether the interval of what was fitted holds what was expected.

    What does not grow at all agrees with O(1), and with no other law. Anything else agrees where the exponent's
    interval holds the expected one and none `ANOTHER` away, or lies within `ALIKE` of it; or where linear growth is
    expected, and a straight line that rises passes all sizes closely. It differs where the interval leaves out what was
    expected, and no fixed part explains it.
    """
    found, centre = law.exponent, float(expected.exponent)
    unit = 1.0
    if expected.each is not None:
        found, centre, unit = law.each, expected.each, expected.each
    if found.interval is None:
        return "cannot tell"
    low, high = ((end - centre) / unit for end in (found.interval.low, found.interval.high))
    if law.form == "constant":
        return "agrees" if centre == 0 else "differs"
    if low >= -ALIKE and high <= ALIKE:
        return "agrees"
    if expected.exponent == 1 and expected.each is None and high < 0:
        return _of_less_than_linear(law)
    if low > 0 or high < 0:
        return "differs"
    return "agrees" if (low > -ANOTHER and high < ANOTHER) or rises_straight(law, expected) else "cannot tell"


def _of_less_than_linear(law: Law) -> TheoryVerdict:
    """A linear law beside a fixed part has an exponent below 1, and so may look like no linear law."""
    if law.straight:
        return "agrees"
    return "cannot tell" if law.may_be_straight else "differs"


def rises_straight(law: Law, expected: Theory) -> bool:
    """Whether growth is linear, as expected, beside a fixed part."""
    return expected.exponent == 1 and expected.each is None and law.straight
