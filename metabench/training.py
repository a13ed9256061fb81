"""Meta-training of one implementation."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from metabench.engines.base import Iteration
from metabench.errors import Diverged
from metabench.record.quality import CurvePoint
from metabench.tensors import Params, Task

STAGES = 100
"""How many times in a meta-training an algorithm can change (`Algorithm.at`)."""
LOOKS = 20
"""How many times in a meta-training its loss is looked at, at even intervals. A GPU has to be waited for at each."""


@dataclass(frozen=True)
class Trained:
    """The outcome of meta-training."""

    meta: Params
    seconds: float
    curve: list[CurvePoint]


def train(
    iteration: Iteration,
    sample: Callable[[], Task],
    iterations: int,
    evaluate_now: Callable[[Params], float],
    curve_points: int,
    enter: Callable[[float], None] = lambda progress: None,
) -> Trained:
    """Meta-train for `iterations`, sampling included in the seconds; raises `Diverged`.

    `enter` is called with the share in [0, 1) of the training done, at each of its hundred stages, and may change what
    an iteration does. The curve has `curve_points` evenly spaced points and one before the first iteration. Neither
    the seconds nor the looks at the loss depend on how many points there are, which may be none.
    """
    marks = _evenly(iterations, curve_points)
    looks = marks | _evenly(iterations, LOOKS)
    curve = [CurvePoint(0, 0.0, None, _finite(evaluate_now(iteration.meta)))]
    seconds = 0.0
    start = time.perf_counter()
    stage = -1
    for done in range(1, iterations + 1):
        if stage != (done - 1) * STAGES // iterations:
            stage = (done - 1) * STAGES // iterations
            enter(stage / STAGES)
        metrics = iteration.run(iteration.take(sample()))
        if done in looks and not isfinite(loss := float(metrics["loss"])):
            raise Diverged(f"the training loss is {loss} by iteration {done}")
        if done in marks or done == iterations:
            iteration.wait()
            seconds += time.perf_counter() - start
            if done in marks:
                curve.append(CurvePoint(done, seconds, loss, _finite(evaluate_now(iteration.meta))))
            start = time.perf_counter()
    return Trained(iteration.meta, seconds, curve)


def _evenly(iterations: int, times: int) -> set[int]:
    """Iterations at even intervals, the last one among them."""
    return {round(i * iterations / times) for i in range(1, times + 1)}


def _finite(value: float) -> float | None:
    """None for what JSON has no word for."""
    return value if math.isfinite(value) else None
