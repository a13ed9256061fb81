"""Axes: a scale with its limits, and a few round numbers at it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from metabench.report.figures.base import Spec
from metabench.report.numbers import BYTE_UNITS, TIME_UNITS, in_unit
from metabench.statistics.ratios import Interval

ScaleKind: TypeAlias = Literal["linear", "log", "symlog", "nines"]
LARGEST = 1e6
"""How many times the best the worst score may be before it is not drawn."""
HIGH = 0.9
"""An accuracy from which on errors tell more than right answers."""
LEAST_ERROR = 1e-4
FARTHEST = 3.0
"""How many times as far as its value an interval is followed; what goes further is cut off at the edge."""
NINES = (*(tenth / 10 for tenth in range(8)), 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
CLOSEST = 0.09
"""Least distance of two numbers, as a share of the axis's length."""
SHORT = "abs(datum.value) >= 1000 ? format(datum.value, '.3~s') : format(datum.value, '.3~g')"
"""20, 5k, 2M, 0.05, in Vega's language."""
TIMES = "format(datum.value, '.6~g') + '×'"
METRICS = {"accuracy": "accuracy [%]", "mse": "mean squared error"}
UNITS = {"time": TIME_UNITS, "memory": BYTE_UNITS}
ERRORS: tuple[Spec, ...] = tuple(
    {"calculate": f"max(1 - datum.{field}, {LEAST_ERROR})", "as": f"{field}_error"}
    for field in ("value", "low", "high")
)
"""What a panel needs whose accuracies are drawn by their errors."""


@dataclass(frozen=True)
class Axis:
    """One axis of a panel."""

    title: str
    kind: ScaleKind
    limits: tuple[float, float]
    ticks: tuple[float, ...] = ()
    """Places of the axis's numbers; Vega finds them where it is empty."""
    text: str = SHORT
    """What stands at a tick, in Vega's language; made of constants alone."""
    grid: bool = False
    cut: bool = False
    """Whether what lies beyond the limits is left to be cut off, and not drawn at the edge."""
    drawn: bool = True
    """Whether its line and its numbers are shown."""

    def at(self, field: str, **more: Any) -> Spec:
        """The channel that puts a field at this axis."""
        nines = self.kind == "nines"
        ticks = [1 - tick for tick in self.ticks] if nines else list(self.ticks)
        low, high = self.limits
        scale: Spec = {"type": self.kind, "domain": [low, high], "zero": False, "nice": False, "clamp": not self.cut}
        if nines:
            scale |= {"type": "log", "domain": [1 - high, 1 - low], "reverse": True}
        if self.kind == "log" or nines:
            del scale["zero"]
        if not self.drawn:
            return {"field": self.field(field), "type": "quantitative", "scale": scale, "axis": None} | more
        axis: Spec = {"title": self.title, "grid": self.grid, "labelExpr": self.text, "labelOverlap": True}
        axis |= {"values": ticks} if ticks else {"tickCount": 4}
        return {"field": self.field(field), "type": "quantitative", "scale": scale, "axis": axis} | more

    def field(self, name: str) -> str:
        """The field that is drawn for one: of high accuracies their errors, by the transform `ERRORS`."""
        return f"{name}_error" if self.kind == "nines" else name

    @property
    def transform(self) -> tuple[Spec, ...]:
        """What a panel needs whose scores stand at this axis."""
        return ERRORS if self.kind == "nines" else ()

    def named(self, name: str, value: float) -> str:
        """The name of a line that ends at a value, which it says if it lies beyond the limits."""
        return name if self.limits[0] <= value <= self.limits[1] else f"{name} (off the scale)"

    def share(self, value: float) -> float:
        """Where a value lies between the limits: from 0 to 1."""
        low, high, at = (self._even(x) for x in (*self.limits, value))
        return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def _even(self, value: float) -> float:
        if self.kind == "log":
            return math.log(max(value, 1e-300))
        if self.kind == "symlog":
            return math.copysign(math.log1p(abs(value)), value)
        return -math.log(max(1 - value, LEAST_ERROR)) if self.kind == "nines" else value


def log_axis(title: str, values: Sequence[float], unit: str = "", grid: bool = False, text: str = SHORT) -> Axis:
    """A logarithmic axis of positive values, for `time` and `memory` in the unit that reads well there."""
    low, high = widened(values)
    ticks = unit_ticks(low, high, UNITS[unit]) if unit else log_ticks(low, high)
    return Axis(title, "log", (low, high), tuple(ticks), _in_its_unit(UNITS[unit]) if unit else text, grid)


def _in_its_unit(units: Sequence[tuple[float, str]]) -> str:
    """The text of a tick in the largest unit that is not above it."""
    *larger, (size, name) = units
    text = f"format(datum.value / {size!r}, '.6~g') + ' {name}'"
    for size, name in reversed(larger):
        # a tick that was computed may lie a rounding below its unit
        text = f"datum.value >= {0.999999 * size!r} ? format(datum.value / {size!r}, '.6~g') + ' {name}' : {text}"
    return text


def _unit(unit: str, typical: float) -> tuple[float, str]:
    """The unit of `time` or `memory` that suits such a value: its size, and the text of a tick."""
    size, name = in_unit(typical, UNITS[unit])
    return size, f"format(datum.value / {size!r}, '.6~g') + ' {name}'"


def even_axis(title: str, highest: float, unit: str) -> Axis:
    """An axis from 0 on, in the unit of `time` or `memory` that suits it."""
    size, text = _unit(unit, highest)
    step = 10 ** math.floor(math.log10(highest / size))
    steps = highest / size / step
    step *= 2 if steps > 5 else 1 if steps > 2.5 else 0.5
    ticks = tuple(size * step * number for number in range(int(highest / size / step) + 1))
    return Axis(title, "linear", (0.0, 1.12 * highest), ticks, text, grid=True)


def score_axis(metric: str, values: Sequence[float]) -> Axis:
    """The axis of a score: high accuracies by their errors' logarithm, positive errors by their own."""
    title = METRICS.get(metric, metric)
    if metric != "accuracy" and min(values) > 0:
        return log_axis(title, [value for value in values if value <= min(values) * LARGEST], grid=True)
    low, high = widened(values, log=False)
    if metric != "accuracy":
        return Axis(title, "linear", (low, high), grid=True)
    if max(values) < HIGH:
        return Axis(title, "linear", (low, high), (), "format(100 * datum.value, '.3~g')", grid=True)
    low, high = max(low, 0.0), min(1 - (1 - max(values)) * 0.85, 1 - LEAST_ERROR)  # intervals may pass 100 %
    axis = Axis(title, "nines", (low, high), (), "format(100 * (1 - datum.value), '.4~g')", grid=True)
    return replace(axis, ticks=_apart(axis, [tick for tick in reversed(NINES) if low <= tick <= high], CLOSEST))


def log_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers in between, or two less round ones."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = -(-(last - first) // 7)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{d}e{k}") for k in range(first, last + 1, every) for d in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            return ticks
    return even_ticks(low, high)


def unit_ticks(low: float, high: float, units: Sequence[tuple[float, str]]) -> list[float]:
    """Three to seven ticks, each round in its own unit: 300 KiB, 1 MiB, 3 MiB."""
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = []
        for (size, _), (above, _) in zip(units, [(math.inf, ""), *units], strict=False):
            first = -12 if size == units[-1][0] else 0
            numbers = [size * float(f"{d}e{k}") for k in range(first, 13) for d in digits]
            ticks += [tick for tick in numbers if low <= tick <= high and tick < 0.9 * above]
        if len(ticks) > 2:
            every = -(-len(ticks) // 7)
            return sorted(ticks)[::every]
    size = in_unit(math.sqrt(low * high), units)[0]
    return [size * tick for tick in log_ticks(low / size, high / size)]


def even_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers in between, at the same distance from each other."""
    step = 10.0 ** math.floor(math.log10(high - low))
    for part in (1.0, 0.5, 0.2, 0.1):
        first, last = math.ceil(low / (part * step)), math.floor(high / (part * step))
        if last - first >= 2:
            return [float(f"{number * part * step:.12g}") for number in range(first, last + 1)]
    return [low, high]


def size_ticks(axis: Axis, sizes: Sequence[float]) -> tuple[float, ...]:
    """Ticks at the sizes themselves, without those that stand too close to another."""
    return _apart(axis, sorted(set(sizes)), 1.5 * CLOSEST)


def _apart(axis: Axis, ticks: Sequence[float], gap: float) -> tuple[float, ...]:
    """The ticks, without those that stand closer to the one before than this share of the axis."""
    shown: list[float] = []
    for tick in ticks:
        if not shown or abs(axis.share(tick) - axis.share(shown[-1])) > gap:
            shown.append(tick)
    return tuple(shown)


def within(values: Sequence[Interval], log: bool = True) -> list[float]:
    """The values, and as much of their intervals as should be seen: on a logarithmic axis up to `FARTHEST` times."""
    if not log:
        return [end for one in values for end in (one.drawn.low, one.value, one.drawn.high)]
    return [end for v in values for end in (max(v.low, v.value / FARTHEST), v.value, min(v.high, v.value * FARTHEST))]


def widened(values: Sequence[float], share: float = 0.06, log: bool = True) -> tuple[float, float]:
    """Limits that leave a little room around at least one value; all must be positive on a logarithmic axis."""
    low, high = min(values), max(values)
    if log:
        factor = max(high / low, 1.05) ** share
        return low / factor, high * factor
    room = max(high - low, 1e-3 * max(abs(high), abs(low)), 1e-9) * share
    return low - room, high + room
