"""Meta-training of one implementation."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol, TypeAlias

from metabench.engines.base import Iteration, OuterState, Restorable
from metabench.errors import Diverged
from metabench.record.quality import CurvePoint
from metabench.record.timing import finite
from metabench.tensors import Params, Task

STAGES = 100
"""How many times in a meta-training an algorithm can change (`Algorithm.at`)."""
LOOKS = 20
"""How many times in a meta-training its loss is looked at, at even intervals. A GPU has to be waited for at each."""
Enter: TypeAlias = Callable[[Iteration, float], Iteration]
"""`(iteration, share in [0, 1) of the training done) -> the iteration of that stage`, which goes on from the other."""
Evaluate: TypeAlias = Callable[[int, Params], float]
"""`(iterations done, the meta-parameters then) -> their score`."""


@dataclass(frozen=True)
class Trained:
    """The outcome of meta-training."""

    meta: Params
    seconds: float
    curve: list[CurvePoint]


@dataclass(frozen=True)
class Midway:
    """A meta-training in the middle. With the place in the stream of tasks, it is all that the rest depends on."""

    done: int
    """Iterations so far."""
    outer: OuterState
    seconds: float
    """Seconds spent training so far."""
    curve: list[CurvePoint]


class Checkpoint(Protocol):
    """What a meta-training is kept in while it goes on, together with the place in the stream of its tasks."""

    def load(self) -> Midway | None:
        """The training as it was saved last, whose tasks come next in the stream; None where it begins anew."""
        ...

    def due(self, done: int) -> bool:
        """Whether to save after so many iterations. Asked after each of them, so that it also sees how far it is."""
        ...

    def save(self, midway: Midway) -> None:
        """Keep the training, whose iterations are done."""
        ...


class Nothing:
    """No checkpoint: the training is lost when its process ends."""

    def load(self) -> None: ...
    def due(self, done: int) -> bool:
        return False

    def save(self, midway: Midway) -> None: ...


def same(iteration: Iteration, progress: float) -> Iteration:
    """`Enter` of a training that does not change in its course."""
    return iteration


def train(
    iteration: Iteration,
    sample: Callable[[], Task],
    iterations: int,
    evaluate_now: Evaluate,
    curve_points: int,
    enter: Enter = same,
    checkpoint: Checkpoint = Nothing(),  # noqa: B008 (it holds nothing)
) -> Trained:
    """Meta-train for `iterations`, sampling included in the seconds; raises `Diverged`.

    `enter` is called at each of the training's hundred stages, and gives what iterates in it. The curve has
    `curve_points` evenly spaced points and one before the first iteration. Neither the seconds nor the looks at the
    loss depend on how many points there are, which may be none. A training that `checkpoint` holds is gone on with:
    it ends as if it had never been ended.
    """
    marks = _evenly(iterations, curve_points)
    looks = marks | _evenly(iterations, LOOKS)
    before = checkpoint.load() if isinstance(iteration, Restorable) else None
    if before and isinstance(iteration, Restorable):
        iteration.restore(before.outer)
        curve, seconds, first = list(before.curve), before.seconds, before.done + 1
    else:
        curve, seconds, first = [CurvePoint(0, 0.0, None, finite(evaluate_now(0, iteration.meta)))], 0.0, 1
    start = time.perf_counter()
    stage = -1
    for done in range(first, iterations + 1):
        if stage != (done - 1) * STAGES // iterations:
            stage = (done - 1) * STAGES // iterations
            iteration = enter(iteration, stage / STAGES)
        metrics = iteration.run(iteration.take(sample()))
        if done in looks and not isfinite(loss := float(metrics["loss"])):
            raise Diverged(f"the training loss is {loss} by iteration {done}")
        save = checkpoint.due(done) and isinstance(iteration, Restorable)
        if done in marks or done == iterations or save:
            iteration.wait()
            seconds += time.perf_counter() - start
            if done in marks:
                curve.append(CurvePoint(done, seconds, loss, finite(evaluate_now(done, iteration.meta))))
            if save:
                checkpoint.save(Midway(done, iteration.outer_state, seconds, curve))
            start = time.perf_counter()
    return Trained(iteration.meta, seconds, curve)


def _evenly(iterations: int, times: int) -> set[int]:
    """Iterations at even intervals, the last one among them."""
    return {round(i * iterations / times) for i in range(1, times + 1)}
