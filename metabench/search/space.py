"""What a search may choose from: the values of each axis, and the usual ones of each algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import Any, TypeAlias

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.errors import UserError, unknown
from metabench.files import read_toml
from metabench.record.axes import quoted
from metabench.record.cell import AXES
from metabench.record.searching import MOST_ASKED, Value
from metabench.sweep.spec import assignments
from metabench.sweep.values import SETTABLE, check
from metabench.tasks.base import Kind

Space: TypeAlias = Mapping[str, Any]
"""What each axis may be, as TOML has it: a value, a list of values, or a range `{low, high, log}`."""
DIGITS = 2
"""Significant digits of a number that is tried: a preset is read by people."""
SEARCHED = SETTABLE - {"algorithm", "engine", "preset"}
"""Axes that a search may set; the others are settings of their own."""

OUTER: Space = {
    "outer_lr": {"low": 3e-4, "high": 1e-2, "log": True},
    "outer_decay": ["linear", "cosine"],
}
CONVOLUTIONS = ["conv4-32", "conv4-64", "conv4-64-finn", "conv4-32-maxpool", "conv4-64-maxpool"]
GRADIENT_BASED: Space = {
    "inner_lr": {"low": 0.05, "high": 4.0, "log": True},
    "inner_steps": {"low": 1, "high": 8},
    "meta_batch": {"low": 2, "high": 32, "log": True},
    "query": {"low": 1, "high": 10},
    **OUTER,
}
WITHOUT_INNER_LOOP: Space = {
    "train_ways": {"low": 5, "high": 60},
    "meta_batch": {"low": 1, "high": 8, "log": True},
    "query": {"low": 1, "high": 15},
    **OUTER,
}
REGRESSION: Space = {
    "inner_lr": {"low": 0.003, "high": 0.3, "log": True},
    "inner_steps": {"low": 1, "high": 5},
    "meta_batch": {"low": 4, "high": 64, "log": True},
    "query": {"low": 5, "high": 20},
    **OUTER,
}
OWN: Mapping[str, Space] = {
    # The outer optimiser is plain descent along the mean of displacements: a rate of 1 takes their mean.
    "reptile": {"outer_lr": {"low": 0.1, "high": 1.0, "log": True}, "inner_steps": {"low": 3, "high": 12}},
    # Only the context is adapted, and few numbers take larger steps.
    "cavia": {"inner_lr": {"low": 0.2, "high": 20.0, "log": True}},
    "anil": {"inner_lr": {"low": 0.1, "high": 10.0, "log": True}},
    # Its inner loop runs on held-out tasks alone, from a head of zeros.
    "fine-tuning": {"inner_steps": {"low": 5, "high": 50, "log": True}},
}
"""What differs, by algorithm, from what is usual in its family."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; drawn by their logarithm if `log`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def nearest(self, value: Value) -> Value:
        """The number of the range that is nearest to `value`, with few digits."""
        inside = min(max(float(value), self.low), self.high)
        return round(inside) if self.whole else min(max(rounded(inside), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """Some values, without an order."""

    values: tuple[Value, ...]

    def nearest(self, value: Value) -> Value:
        """The value itself if it is one of them, else the first."""
        return value if value in self.values else self.values[0]


Parameter: TypeAlias = Range | Choice


def rounded(number: float) -> float:
    """The number with few significant digits."""
    return round(number, DIGITS - 1 - floor(log10(abs(number)))) if number else 0.0


def rounded_down(number: float) -> int:
    """The largest whole number with few digits that is not above `number`."""
    whole = int(number)
    unit = int(10 ** max(0, len(str(whole)) - DIGITS))
    return whole // unit * unit


def usual_space(name: str, kind: Kind, model: str) -> Space:
    """What is searched for where nothing is said, of an algorithm on a kind of task; `model` is that of its preset."""
    algorithm = ALGORITHMS.get(name)
    if algorithm.order == "none":
        space = dict(WITHOUT_INNER_LOOP)
    else:
        space = dict(REGRESSION if kind == "regression" else GRADIENT_BASED)
    if model in CONVOLUTIONS:
        space["model"] = CONVOLUTIONS
    space |= OWN.get(name, {})
    return {axis: value for axis, value in space.items() if _applies(axis, algorithm, kind)}


def _applies(axis: str, algorithm: type[Algorithm], kind: Kind) -> bool:
    return axis != "train_ways" or (algorithm.any_ways and kind == "classification")


def read_space(file: Path) -> Space:
    """The axes of a TOML file. Raises `UserError`."""
    _, axes = read_toml(file, MOST_ASKED, "file of axes")
    return axes


def assigned(texts: list[str], option: str) -> Space:
    """The axes of `axis=value[,value…]`: one value is fixed, several are a choice. Raises `UserError`."""
    found = assignments(texts, option)
    return {axis: values[0] if len(values) == 1 else values for axis, values in found.items()}


def split(axes: Space) -> tuple[dict[str, Value], dict[str, Parameter]]:
    """The axes that have one value, and those that are searched. Raises `UserError` for what an axis cannot be."""
    fixed: dict[str, Value] = {}
    searched: dict[str, Parameter] = {}
    for axis, value in axes.items():
        if axis not in SEARCHED:
            raise unknown("axis of a search", axis, SEARCHED)
        if isinstance(value, dict):
            searched[axis] = _range(axis, value)
        elif isinstance(value, list):
            searched[axis] = _choice(axis, value)
        else:
            check(axis, value)
            fixed[axis] = value
    return fixed, searched


def _choice(axis: str, values: list[Any]) -> Choice:
    if len(values) < 2:
        raise UserError(f"axis '{axis}' of a search needs two values or more, or a value that is no list")
    for value in values:
        check(axis, value)
    return Choice(tuple(dict.fromkeys(values)))


def _range(axis: str, table: Mapping[str, Any]) -> Range:
    for name in table:
        if name not in ("low", "high", "log"):
            raise unknown(f"part of the range of '{axis}'", name, ("low", "high", "log"))
    if "low" not in table or "high" not in table:
        raise UserError(f"axis '{axis}' of a search takes a range with both ends: {{low = 1, high = 8}}")
    if AXES[axis].kind not in (int, float):
        raise UserError(f"axis '{axis}' has no order: give its values as a list")
    low, high, log = table["low"], table["high"], table.get("log", False)
    for end in (low, high):
        check(axis, end)
    if not isinstance(log, bool):
        raise UserError(f"'log' in the range of '{axis}' must be true or false, not {quoted(log)}")
    if not low < high or (log and low <= 0):
        raise UserError(f"the range of axis '{axis}' must rise{', and begin above 0' if log else ''}")
    return Range(low, high, log, AXES[axis].kind is int)
