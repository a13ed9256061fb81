"""Where the time of a meta-iteration goes, by marks at the gradients that an algorithm takes.

No algorithm knows of it: `with_marks` gives one that does the same, and marks when it takes an inner gradient or an
outer gradient, or asks its learner for a loss. Marks divide the iteration: every moment belongs to one phase, so that
phases add up to the iteration by construction. A mark costs about a microsecond, which is taken off. An engine that
runs as one piece (compiled, another library) has no marks inside.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm, Learner
from metabench.autodiff import Autodiff, GradientAndValue, Scalar
from metabench.engines.base import Engine
from metabench.record.timing import PHASES
from metabench.tensors import Params, Task

(
    SAMPLING,
    INNER_FORWARD,
    INNER_BACKWARD,
    INNER_UPDATE,
    QUERY,
    OUTER_BACKWARD,
    SOLVE,
    AVERAGE,
    DIRECTIONS,
    OPTIMISER,
    META_ITERATION,
) = PHASES
Amount = TypeVar("Amount", int, float)
Stamp: TypeAlias = Callable[[str], Any]
"""Notes that the phase of that name begins; gives the time, as `Clock.seconds` reads it."""


class Clock(NamedTuple):
    """How moments are noted: `seconds(a, b)` lie between two of them, once `wait` has returned."""

    stamp: Stamp
    seconds: Callable[[Any, Any], float]
    wait: Callable[[], object]


def clock_for(device: torch.device) -> Clock:
    """The processor's clock; on CUDA events in the stream, which are the device's own times and wait for nothing."""
    if device.type != "cuda":
        return Clock(lambda _: time.perf_counter(), lambda a, b: float(b - a), lambda: None)

    def stamp(_: str) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    return Clock(stamp, lambda a, b: float(a.elapsed_time(b)) * 1e-3, torch.cuda.synchronize)


class Frame:
    """A call that is going on: its phase now, and whether it is an inner gradient."""

    __slots__ = ("inner", "phase")

    def __init__(self, phase: str, inner: bool) -> None:
        self.phase, self.inner = phase, inner


class Marks:
    """The moments at which one phase ended and the next began, in an iteration."""

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp
        self.moments: list[tuple[str, Any]] = []
        self.frames: list[Frame] = []
        self.inner = False
        """Whether an inner gradient is being made: what it is made of is then the inner loop's."""

    def begin(self, phase: str) -> None:
        """Begin an iteration, and forget the one before."""
        self.moments = [(phase, self.stamp(phase))]
        self.frames = [Frame(phase, False)]

    def end(self) -> None:
        """End the iteration."""
        self.moments.append(("", self.stamp("")))

    def enter(self, phase: str, inner: bool = False) -> None:
        """Begin a call in a phase."""
        self.frames.append(Frame(phase, inner))
        self.moments.append((phase, self.stamp(phase)))

    def turn(self, phase: str) -> None:
        """Move the innermost call to its next phase."""
        frame = self.frames[-1]
        if frame.phase != phase:
            frame.phase = phase
            self.moments.append((phase, self.stamp(phase)))

    def leave(self, then: str = "") -> None:
        """End the innermost call; the one around it goes on, in the phase `then` if one is given."""
        self.frames.pop()
        frame = self.frames[-1]
        phase = frame.phase = then or frame.phase
        self.moments.append((phase, self.stamp(phase)))

    @property
    def closed(self) -> bool:
        """Whether what is called now is part of a phase that is not divided: what `checkpoint` computes again in a
        backward pass, the products of an implicit solve; or of no iteration at all."""
        return not self.frames or self.frames[-1].phase in (INNER_BACKWARD, OUTER_BACKWARD, SOLVE)

    def seconds(self, clock: Clock) -> dict[str, float]:
        """What each phase took between `begin` and `end`. They add up to all."""
        found: dict[str, float] = {}
        for (phase, start), (_, end) in zip(self.moments, self.moments[1:], strict=False):
            found[phase] = found.get(phase, 0.0) + clock.seconds(start, end)
        return _undivided(found)

    def counts(self) -> dict[str, int]:
        """How many marks fall into each phase."""
        return _undivided(Counter(phase for phase, _ in self.moments[:-1]))


def _undivided(found: Mapping[str, Amount]) -> dict[str, Amount]:
    """Amounts by phase, with one phase for a direction inside which nothing was seen."""
    unseen = found.keys() <= {AVERAGE, OPTIMISER}
    return {DIRECTIONS if unseen and phase == AVERAGE else phase: amount for phase, amount in found.items()}


# --- an algorithm that marks -----------------------------------------------------------------------------------------


def with_marks(algorithm: Algorithm, marks: Marks) -> Algorithm:
    """An algorithm that does what this one does, and marks it; its class is a subclass of this one's.

    Inner gradients are those that it takes by `inner_gradient`, which every inner loop does. Any other gradient is an
    outer one; so is what an engine does after `objective`, if it takes the gradient itself (`vmap`). Between two
    gradients is the inner update, from the moment that the learner is asked for a prediction the query. An implicit
    algorithm's work after its query's gradient is the solve.
    """
    kind = type(algorithm)
    first = QUERY if kind.order == "none" else INNER_FORWARD  # what precedes the first inner gradient belongs to it
    parent: Any = kind

    def settle(self: Any) -> None:
        parent.__post_init__(self)
        if not isinstance(self.learner, _WatchedLearner):
            object.__setattr__(self, "learner", _learner(self.learner, marks))
        if not self.autodiff.name.startswith(_WATCHED):
            object.__setattr__(self, "autodiff", _autodiff(self.autodiff, marks, first, kind.order == "implicit"))

    def inner_gradient(self: Any, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        marks.inner = True
        try:
            return cast(Callable[..., tuple[Params, Tensor]], parent.inner_gradient(self, loss))
        finally:
            marks.inner = False

    def objective(self: Any, meta: Params, anchor: Params, task: Task) -> Tensor:
        if marks.closed or len(marks.frames) > 1:  # inside a gradient or a direction, which has marks of its own
            return cast(Tensor, parent.objective(self, meta, anchor, task))
        marks.enter(first)
        try:
            return cast(Tensor, parent.objective(self, meta, anchor, task))
        finally:
            marks.leave(OUTER_BACKWARD if torch.is_grad_enabled() else "")

    def task_direction(self: Any, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        marks.enter(first)
        try:
            return cast(tuple[Params, dict[str, Tensor]], parent.task_direction(self, meta, task))
        finally:
            marks.leave()

    methods: dict[str, Any] = {"__post_init__": settle, "inner_gradient": inner_gradient, "objective": objective}
    if kind.task_direction is not Algorithm.task_direction:  # whether it is, vmap asks
        methods["task_direction"] = task_direction
    made: Any = type(kind.__name__, (kind,), methods)
    return cast(Algorithm, made(**{field.name: getattr(algorithm, field.name) for field in fields(algorithm)}))


_WATCHED = "watched "


class _WatchedLearner(Learner):
    """Base class of learners that tell a set of marks when they are asked for predictions outside of an inner loss."""


def _learner(learner: Learner, marks: Marks) -> Learner:
    def query() -> None:
        # Asked for every prediction: the cheapest test first.
        frame = marks.frames[-1] if marks.frames else None
        if frame and not frame.inner and frame.phase != QUERY and len(marks.frames) > 1 and not marks.closed:
            marks.turn(QUERY)

    class Watching(_WatchedLearner):
        def predict(self, params: Params, x: Tensor) -> Tensor:
            query()
            return super().predict(params, x)

        def loss_of(self, outputs: Tensor, y: Tensor) -> Tensor:
            query()
            return super().loss_of(outputs, y)

    return Watching(learner.model, learner.kind, learner.classes)


def _autodiff(autodiff: Autodiff, marks: Marks, first: str, implicit: bool) -> Autodiff:
    def marking(take: GradientAndValue) -> GradientAndValue:
        def gradient_and_value(function: Scalar) -> Callable[..., tuple[Params, Tensor]]:
            inner = marks.inner
            after = INNER_BACKWARD if inner else OUTER_BACKWARD
            then = INNER_UPDATE if inner else SOLVE if implicit else AVERAGE

            def seen(params: Params, *args: Any) -> Tensor:
                value = function(params, *args)
                if not marks.closed:
                    marks.turn(after)
                return value

            def gradient(params: Params, *args: Any) -> tuple[Params, Tensor]:
                if marks.closed:
                    return take(function)(params, *args)
                adapted = marks.frames[-1].phase == INNER_UPDATE
                marks.enter(INNER_FORWARD if inner else QUERY if adapted else first, inner)
                try:
                    return take(seen)(params, *args)
                finally:
                    marks.leave(then)

            return gradient

        return gradient_and_value

    return Autodiff(
        _WATCHED + autodiff.name,
        marking(autodiff.gradient_and_value),
        marking(autodiff.constant_gradient_and_value),
        marking(autodiff.tangent_gradient_and_value),
        autodiff.recomputed,
    )


def divisible(engine: Engine) -> bool:
    """Whether the engine calls the algorithm's own functions in each iteration: then marks are seen."""
    return engine.start is None and not engine.compiles and not engine.library
