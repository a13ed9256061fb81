"""The proof of the function that is timed: the very one that the clock calls, in its precision and at its full shape.

The gate in float64 proves a step that is built for it. A compiler may fail in one precision or for one shape alone. An
engine may keep results, or put work off. So the iteration that is timed runs on fresh episodes, before the timing and
after it. What it does to the outer optimiser's state is compared with float64: the direction, Adam's moments, and the
meta-parameters.

An episode batch of the full size is made of a few different tasks, each of them many times. Its direction is then the
weighted mean of theirs, so that the truth takes `loop` a few tasks, and each batch has other weights.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import hypot, isfinite
from typing import Any

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.correctness.fault import Fault, not_finite
from metabench.correctness.gate import ENGINE_TOLERANCE, LOSS_TOLERANCE
from metabench.correctness.outer_update import (
    RATE,
    copied,
    less,
    norm,
    shown_direction,
    written,
    wrong,
    wrong_update,
)
from metabench.correctness.points import DISTINCT, UNITS, Directions, Point, Points, Precise
from metabench.engines.base import Iteration, OuterState
from metabench.engines.outer import BETA1, CLIP_EPSILON, Outer
from metabench.errors import Unsupported
from metabench.tasks.base import ALL, TaskDistribution
from metabench.tensors import Params, Task, flat, task_of, tensors_of

CALLS = 2
"""Calls in a row that are looked at: an engine that leaves out every second one is found."""
POINTS = 3
"""Meta-parameters and tasks that are tried. At a kink (a ReLU or a max-pool that rounding switches) a right direction
jumps, and at another point it does not; a wrong one is wrong at all of them."""
ROUNDINGS = {"float64": 30.0, "float32": 30.0, "tf32": 8.0, "bfloat16": 4.0}
"""How many times what rounding does to `loop` an error may be, by precision. Sums in another order round otherwise."""
SHARP = 1e4
"""How many of these units the error of `loop` may be before it is looked into."""
DEFERRED = 0.5
"""Share of a step by which a result may come late, beyond the time that it takes to read it."""
SOON = 2e-5
"""Seconds by which it may come late in any case."""
MORE, READS = 8, 3
"""Iterations more in a row than one, and how often both are tried: work that was put off grows with them, and the time
that it takes to read a result does not."""


@dataclass(frozen=True)
class TimedError:
    """How far the timed function was off, where it was worst."""

    error: float
    """Relative error of the direction against float64; infinite where it is not finite."""
    rounding: float
    """Relative error of `loop` in that precision, on the same episodes."""
    excess: float
    """Error in shares of what is allowed, of the worst tensor."""
    allowed: float
    """What is allowed of all tensors together, relative to the direction: from 1 on, no direction at all would pass."""


@dataclass
class TimedProof:
    """The proof of one cell's iteration; `before` and `after` its timing give what is wrong, or nothing."""

    algorithm: Algorithm
    """The algorithm of the iteration that is timed."""
    distribution: TaskDistribution
    outer: Outer
    meta: Params
    """Initial meta-parameters, on the device and in the type that they have there."""
    tasks: int
    """Tasks of a meta-batch."""
    precision: str = "float32"
    precise: Precise = lambda function: function
    share: slice = field(default_factory=lambda: ALL)
    """The tasks that this process takes of a meta-batch."""
    agree: Callable[[bool], bool] = lambda passed: passed
    """Whether all processes agree that it passed: they go on together."""
    seen: list[TimedError] = field(default_factory=list)
    """Errors of the calls that passed."""
    batches: int = 0
    seconds: float = 0.0
    """Wall time that it has taken so far."""

    def before(self, iteration: Iteration) -> Fault | None:
        """What is wrong with the iteration before it is timed; it is left at the initial meta-parameters, at rate 0."""
        if not hasattr(iteration, "outer_state") or not hasattr(iteration, "set_rate"):
            raise Unsupported(
                "the engine's iterations do not show the outer optimiser's state: they need outer_state and set_rate "
                "(metabench.engines.base.Iteration)"
            )
        with self._timed():
            fault = self._prove(iteration, None, None)
            iteration.set_rate(0.0)
            iteration.meta = self.meta
        return fault

    def after(self, iteration: Iteration, buffers: Sequence[Task], step_s: float | None = None) -> Fault | None:
        """What is wrong after the timing; fresh episodes are written into the buffers that were timed.

        `step_s` are the seconds that a timed step took: a result that comes that much later than `wait` was put off.
        """
        moved = [name for name, p in iteration.meta.items() if not torch.equal(p.to(self.meta[name]), self.meta[name])]
        if not self.agree(not moved):
            return wrong(f"the timed iterations moved {', '.join(moved)} at an outer rate of zero")
        with self._timed():
            return self._prove(iteration, buffers, step_s)

    def prepare(self) -> None:
        """Compute the first point, while nothing else is held in memory."""
        with self._timed():
            _ = self.points[0]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    @property
    def worst(self) -> TimedError | None:
        """The largest error that passed, by what is allowed."""
        return max(self.seen, key=lambda found: found.excess, default=None)

    def _prove(self, iteration: Iteration, buffers: Sequence[Task] | None, step_s: float | None) -> Fault | None:
        fault = None
        for number in range(POINTS):
            fault = self._look(iteration, number, buffers, step_s)
            if self.agree(fault is None) or (fault and fault.status != "incorrect"):
                return fault
        return fault

    @cached_property
    def points(self) -> Points:
        """Where it is tried."""
        return Points(self.algorithm, self.distribution, self.meta, self.precision, self.precise, self.agree)

    @cached_property
    def _like(self) -> Tensor:
        return next(iter(self.meta.values())).new_empty(())

    @cached_property
    def _spacing(self) -> float:
        return float(torch.finfo(self._like.dtype).eps)

    def _look(
        self, iteration: Iteration, number: int, buffers: Sequence[Task] | None, step_s: float | None
    ) -> Fault | None:
        """What is wrong with some calls in a row at one point."""
        point = self.points[number]
        for which, found in (("float64", point.truth), (self.precision, point.rounded)):
            if not all(bool(torch.isfinite(loss)) and bool(torch.isfinite(flat(p)).all()) for p, loss in found):
                return not_finite(self.algorithm, f"in {which}")
        iteration.set_rate(RATE)
        late = []
        for call in range(CALLS):
            weights, episodes = self._batch(point)
            if buffers:
                episodes = written(episodes, buffers[call % len(buffers)])
            iteration.meta = point.meta
            before = copied(iteration.outer_state)
            taken = iteration.take(episodes)
            metrics = iteration.run(taken)
            iteration.wait()
            start = time.perf_counter()
            after = copied(iteration.outer_state)
            middle = time.perf_counter()
            copied(iteration.outer_state)
            late.append(2 * middle - start - time.perf_counter())
            if fault := self._judged(number, weights, before, after, float(metrics["loss"])):
                return fault
        if step_s is not None and min(late) > (allowed := max(DEFERRED * step_s, SOON)):
            # It may be that a second reading is quicker, since what was read is kept.
            iteration.meta = point.meta  # a step at `RATE` has led far away
            each = self._put_off(iteration, taken) if self.share == ALL else min(late)
            if each > allowed:
                return wrong(
                    f"the work is not done when wait returns: the result came {each:.2g} s later, and the clock saw "
                    f"{step_s:.2g} s for a step"
                )
        return None

    @staticmethod
    def _put_off(iteration: Iteration, taken: Any) -> float:
        """Seconds of work of each iteration that are done when the result is read, and not before `wait` returns."""
        iteration.set_rate(0.0)

        def reading(runs: int) -> float:
            for _ in range(runs):
                iteration.run(taken)
            iteration.wait()
            start = time.perf_counter()
            copied(iteration.outer_state)
            return time.perf_counter() - start

        one, many = (min(reading(runs) for _ in range(READS)) for runs in (1, 1 + MORE))
        return (many - one) / MORE

    def _batch(self, point: Point) -> tuple[Tensor, Task]:
        """An episode batch of the tasks, and how much of it each of them is; this process's share of the batch."""
        self.batches += 1
        generator = torch.Generator().manual_seed(self.batches)
        chance = torch.tensor([0.6, 0.3, 0.1])[torch.randperm(DISTINCT, generator=generator)]
        which = torch.multinomial(chance, self.tasks, replacement=True, generator=generator)
        weights = torch.bincount(which, minlength=DISTINCT).double() / self.tasks
        chosen = which[self.share].tolist()
        return weights, task_of([torch.stack([tensor[i] for i in chosen]) for tensor in tensors_of(point.tasks)])

    def _judged(self, number: int, weights: Tensor, before: OuterState, after: OuterState, loss: float) -> Fault | None:
        """What is wrong with one call, of which the outer state was seen before and after it."""
        point = self.points[number]
        if after.updates != before.updates + 1:
            return wrong(f"one call counted as {after.updates - before.updates} outer updates")
        found = shown_direction(before, after)
        truth, rounded = (self._mean(each, weights) for each in (point.truth, point.rounded))
        noise = {name: rounded[0][name] - p for name, p in truth[0].items()}
        error = self._error(found, truth[0], noise, before)
        if error.excess > 1 or error.rounding > SHARP * UNITS[self.precision]:
            error = self._error(found, truth[0], self._shaken(number, weights, truth[0]), before)
        if not isfinite(error.error):
            return wrong(f"the timed function gives a direction in {self.precision} that is not finite")
        if error.excess > 1:
            return wrong(
                f"the direction of the timed function, in {self.precision} on {self.tasks} tasks, differs from float64 "
                f"by {error.error:.1e}; rounding explains {error.error / error.excess:.1e}"
            )
        if fault := wrong_update(before, after, found, self.outer.epsilon, self._spacing):
            return fault
        allowed = ROUNDINGS[self.precision] * abs(rounded[1] - truth[1])
        allowed += (LOSS_TOLERANCE + SHARP * UNITS[self.precision]) * abs(truth[1])
        if not abs(loss - truth[1]) <= allowed:
            return wrong(
                f"the direction of the timed function is right, and its loss is {loss:.6g} where float64 gives "
                f"{truth[1]:.6g}"
            )
        self.seen.append(error)
        return None

    def _mean(self, found: Directions, weights: Tensor) -> tuple[Params, float]:
        """The direction of a batch, clipped as the outer optimiser does it, and its loss."""
        parts = list(zip(weights.tolist(), found, strict=True))
        direction = {name: sum((w * d[name] for w, (d, _) in parts), torch.zeros(())) for name in found[0][0]}
        if self.outer.clip:
            share = min(1.0, self.outer.clip / (norm(flat(direction)) + CLIP_EPSILON))
            direction = {name: share * p for name, p in direction.items()}
        return direction, float(sum(w * float(value) for w, (_, value) in parts))

    def _error(self, found: Params, truth: Params, noise: Params, before: OuterState) -> TimedError:
        """The error of a direction, held against what rounding does: the noise, and the spacing of what was read."""
        total = norm(flat(truth))
        error, rounding = (norm(flat(each)) / (total or 1.0) for each in (less(found, truth), noise))
        times, excess, all_allowed = ROUNDINGS[self.precision], 0.0, 0.0
        for name, p in truth.items():
            read = norm(before.means[name]) / (1 - BETA1) if before.means else norm(before.meta[name]) / RATE
            allowed = times * (norm(noise[name]) + rounding * norm(p) + self._spacing * (4 * total + read))
            if self._like.dtype == torch.float64:
                allowed += ENGINE_TOLERANCE * total
            all_allowed = hypot(all_allowed, allowed)
            off = norm(found[name] - p)
            excess = max(excess, off / allowed if allowed else float(off > 0) * 2)
        error, excess = error if isfinite(error) else float("inf"), excess if excess == excess else 2.0
        return TimedError(error, rounding, excess, all_allowed / (total or 1.0))

    def _shaken(self, number: int, weights: Tensor, truth: Params) -> Params:
        """The most that shaking every number by a few units does to the direction of a batch."""
        moved = [less(self._mean(found, weights)[0], truth) for found in self.points.shaken(number)]
        return max(moved, key=lambda each: norm(flat(each)))
