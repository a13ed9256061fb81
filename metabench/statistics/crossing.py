"""When a training curve first reaches a value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metabench.record.quality import CurvePoint


@dataclass(frozen=True)
class Crossing:
    """The point at which the curve of one training seed first was at the target."""

    iterations: float
    seconds: float


def crossing(curve: Sequence[CurvePoint], value: float, falls: bool) -> Crossing | None:
    """The point at which a curve is first at least as good as `value`; its values fall or else rise as it gets better.

    None if it never is. Between two points the logarithm of the error (1 - accuracy, or the squared error) is taken to
    be a straight line: errors fall by factors. Where an error is 0, which has no logarithm, the error itself is.
    """
    before: tuple[CurvePoint, float] | None = None
    for point in curve:
        here = point.value
        if here is None:
            before = None  # not finite: nothing to draw a line from
            continue
        if here <= value if falls else here >= value:
            part = 1.0 if before is None else _part(*(_error(one, falls) for one in (before[1], here, value)))
            start = before[0] if before else point
            iterations = start.iteration + part * (point.iteration - start.iteration)
            return Crossing(iterations, start.seconds + part * (point.seconds - start.seconds))
        before = (point, here)
    return None


def _error(value: float, falls: bool) -> float:
    return value if falls else 1 - value


def _part(start: float, end: float, at: float) -> float:
    """How far `at` lies on the way from `start` to `end`, of which it is between."""
    if min(start, end, at) > 0:
        start, end, at = math.log(start), math.log(end), math.log(at)
    if start == end:  # closer than the arithmetic can tell
        return 1.0
    return min(1.0, max(0.0, (start - at) / (start - end)))
