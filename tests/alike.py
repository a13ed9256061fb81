"""Figures compared as a reader compares them: in documents, and in rows of measurements."""

import re
from decimal import Decimal
from typing import Any

import pytest

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w]|\.\d)")
FILLING = re.compile(r"[^\S\n]+|(?<=-)-+")
"""Spaces and rules, whose length follows the width of the figures in a column."""


def differences(found: str, expected: str) -> list[str]:
    """The lines in which two texts differ: CSV, Markdown, or any other.

    Words and whole numbers must be equal. A number that has decimals or an exponent may differ by one unit of the last
    digit that is shown: libraries and processors round sums differently, and a figure may lie between two digits. Of
    two numbers with different numbers of digits, the one with fewer decides.
    """
    lines, others = found.splitlines(), expected.splitlines()
    if len(lines) != len(others):
        return [f"{len(lines)} lines, where {len(others)} are expected"]
    return [
        f"line {i}: {line!r}, where {other!r} is expected"
        for i, (line, other) in enumerate(zip(lines, others, strict=True), 1)
        if line != other and not _alike(FILLING.sub(" ", line), FILLING.sub(" ", other))
    ]


def about(value: Any) -> Any:
    """The same dicts and lists, whose floats equal those that rounding explains."""
    if isinstance(value, dict):
        return {key: about(one) for key, one in value.items()}
    if isinstance(value, list):
        return [about(one) for one in value]
    return pytest.approx(value, rel=1e-6, abs=1e-12) if isinstance(value, float) else value


def _alike(line: str, other: str) -> bool:
    if NUMBER.sub("#", line) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(line), NUMBER.findall(other), strict=True)
    return all(one == two or _close(one, two) for one, two in pairs)


def _close(one: str, two: str) -> bool:
    if one.lstrip("+-").isdigit() and two.lstrip("+-").isdigit():
        return False
    values = Decimal(one), Decimal(two)
    exponents = [value.as_tuple().exponent for value in values]
    return abs(values[0] - values[1]) <= Decimal(1).scaleb(max(int(exponent) for exponent in exponents))
