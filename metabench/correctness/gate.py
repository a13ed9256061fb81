"""The correctness gate: no implementation is timed before its direction is proved right, in float64.

Two comparisons. The engine's direction against the one of `loop`; and the one of `loop` against central differences
of the algorithm's own definition (`Algorithm.objective`), which know nothing of automatic differentiation.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.correctness.differences import DEFINITION_TOLERANCE, definition_error, nan_last
from metabench.correctness.fault import RANDOM, Fault, misfit, not_finite
from metabench.engines import loop
from metabench.engines.base import Step
from metabench.engines.inexact import known_faults
from metabench.tasks.base import TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Params, Task, flat, task_at

ENGINE_TOLERANCE = 1e-8
"""Largest relative error of an engine in float64; exact engines reach about 1e-15."""
LOSS_TOLERANCE = 1e-5
"""Largest relative error of a reported loss: it decides nothing, and may be kept in float32."""
GATE_TASKS = 2
NUDGE = 0.05
"""Share of their size by which initial values are moved: zero biases and unit scales would hide errors. Zeros are moved
as ones are."""
EXPLODED = 1e30
"""A loss beyond this has left the numbers of any precision, whether or not float64 still holds it."""
GONE = 1e3
"""How many times as large as meta-parameters adapted ones are where the inner loop has left them for good."""


@dataclass(frozen=True)
class Correctness:
    """Relative errors in float64, NaN where a number is not finite."""

    engine_error: float
    """Error of the engine's direction, against `loop`."""
    definition_error: float
    """Error of the direction of `loop`, against finite differences."""
    loss_error: float = 0.0
    """Largest error of the metrics that the engine reports, against `loop`."""
    cause: Fault | None = None
    """What makes the errors mean nothing: a loss that is not finite, or random numbers."""
    known: tuple[str, str] = ("", "")
    """What is known to make a wrong direction wrong: that of `loop`, and the engine's."""

    @property
    def passed(self) -> bool:
        """Whether all errors are within their tolerances (NaN is not)."""
        return self.fault is None

    @property
    def fault(self) -> Fault | None:
        """What is wrong, if anything is."""
        return self.cause or (Fault("incorrect", self._errors) if self._errors else None)

    @property
    def reason(self) -> str:
        """What is wrong, as a sentence; empty if passed."""
        return self.fault.reason if self.fault else ""

    @property
    def _errors(self) -> str:
        of_loop, of_engine = self.known
        faults = []
        if not self.definition_error <= DEFINITION_TOLERANCE:
            words = "the direction of loop differs from finite differences of the algorithm's definition by"
            faults += [f"{words} {self.definition_error:.1e} (allowed {DEFINITION_TOLERANCE:.0e})", of_loop]
        if not self.engine_error <= ENGINE_TOLERANCE:
            words = "the engine's direction differs from loop by"
            faults += [f"{words} {self.engine_error:.1e} (allowed {ENGINE_TOLERANCE:.0e})", of_engine]
        elif not self.loss_error <= LOSS_TOLERANCE:
            words = "the engine's direction is right, and the loss that it reports differs from loop by"
            faults.append(f"{words} {self.loss_error:.1e} (allowed {LOSS_TOLERANCE:.0e})")
        return "; ".join(filter(None, faults))


def gate(
    algorithm: Algorithm, step: Step, distribution: TaskDistribution, device: torch.device, tasks: int = GATE_TASKS
) -> Correctness:
    """Check `step` on some tasks of `distribution`, at meta-parameters a little off their initial values.

    Initial values are special (zero biases, unit scales) and would hide errors. Where a kink that is not held lies
    within every difference, the right direction fails: another point is tried, once. A wrong direction is wrong at
    both.
    """
    first = _gate_at(algorithm, step, distribution, device, tasks, seed=0)
    if first.passed or first.cause:
        return first
    return min(first, _gate_at(algorithm, step, distribution, device, tasks, seed=1), key=_worst)


def _gate_at(
    algorithm: Algorithm, step: Step, distribution: TaskDistribution, device: torch.device, tasks: int, seed: int
) -> Correctness:
    generator = torch.Generator().manual_seed(seed)
    meta = {name: p.to(device) for name, p in nudge(algorithm.init(generator), generator).items()}
    like = torch.zeros((), dtype=torch.float64, device=device)
    episodes = sampled(distribution, "train", tasks, generator, like)
    reference = loop.build(algorithm)
    of_each = [reference(meta, task_at(episodes, slice(i, i + 1))) for i in range(tasks)]
    truth, truth_metrics = (_mean([found[part] for found in of_each]) for part in (0, 1))
    if cause := _cause(algorithm, meta, episodes, truth, of_each[0][0]):
        return Correctness(float("nan"), float("nan"), float("nan"), cause)
    result = held(algorithm, step(meta, episodes), (truth, truth_metrics), meta, episodes)
    if result.cause:
        return result
    found = replace(result, definition_error=definition_error(algorithm, meta, episodes, truth, generator))
    if found.passed or not found.engine_error <= ENGINE_TOLERANCE:  # then `held` has looked
        return found
    return replace(found, known=known_faults(algorithm, meta, task_at(episodes, 0)))


def held(
    algorithm: Algorithm, given: object, truth: tuple[Params, dict[str, Tensor]], meta: Params, episodes: Task
) -> Correctness:
    """What a step gave against what `loop` gives; the error of `loop` itself is taken as zero.

    Directions and metrics are told apart: a loss that is off is no direction that is off.
    """
    if wrong := misfit(given, truth[0]):
        return Correctness(float("inf"), float("nan"), float("nan"), wrong)
    direction, metrics = cast(tuple[Params, dict[str, Tensor]], given)
    shared = [name for name in metrics if name in truth[1]]
    errors = [relative_error({name: metrics[name]}, {name: truth[1][name]}) for name in shared]
    found = Correctness(relative_error(direction, truth[0]), 0.0, max(errors, key=nan_last, default=0.0))
    if found.engine_error <= ENGINE_TOLERANCE:
        return found
    on_loop, under_vmap = known_faults(algorithm, meta, task_at(episodes, 0))
    return replace(found, known=(on_loop, _of_first_order(algorithm, meta, episodes, direction) or under_vmap))


def _of_first_order(algorithm: Algorithm, meta: Params, episodes: Task, direction: Params) -> str:
    """What to say of a direction of second order that is that of first order; empty of any other."""
    if algorithm.order != "second" or algorithm.first_order:
        return ""
    first_order, _ = loop.build(replace(algorithm, first_order=True))(meta, episodes)
    if not relative_error(direction, first_order) <= ENGINE_TOLERANCE:
        return ""
    return "it is that of first order, in which inner gradients are constants (is create_graph=True missing?)"


def _mean(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: sum((each[name] for each in found[1:]), value) / len(found) for name, value in found[0].items()}


def _cause(algorithm: Algorithm, meta: Params, episodes: Task, truth: Params, of_first: Params) -> Fault | None:
    """What makes a comparison with `truth`, the direction of `loop`, mean nothing; and that of the first task."""
    tasks = [task_at(episodes, i) for i in range(len(episodes.classes))]
    with torch.no_grad():
        values = [algorithm.objective(meta, meta, task) for task in tasks]
        # A finite loss whose derivative is not finite is a fault of the algorithm or of the model. So is a loss that is
        # not finite although the parameters are as they should be.
        if not all(float(value.abs()) < EXPLODED for value in values):
            gone = any(_is_gone(algorithm, meta, task) for task in tasks)
            return not_finite(algorithm, "in float64") if gone else None
    again, _ = loop.build(algorithm)(meta, task_at(episodes, slice(1)))
    return RANDOM if relative_error(again, of_first) > ENGINE_TOLERANCE else None


def _is_gone(algorithm: Algorithm, meta: Params, task: Task) -> bool:
    """Whether the inner loop takes the parameters away from all that they were."""
    most = GONE * max(1.0, *(float(p.abs().max()) for p in meta.values()))
    points = algorithm.trajectory(meta, task.support)
    return not all(float(p.abs().max()) < most for point in points for p in point.values())


def nudge(meta: Params, generator: torch.Generator, names: Container[str] | None = None) -> Params:
    """Meta-parameters in float64, with noise on those of the names, or on all.

    A parameter of one sign keeps it: a rate or a variance that crossed zero would make another problem of it. Of one
    that is small throughout, the noise is small, too.
    """
    return {
        name: _nudged(p.double(), torch.randn(p.shape, generator=generator, dtype=torch.float64))
        if names is None or name in names
        else p.double()
        for name, p in meta.items()
    }


def _nudged(p: Tensor, noise: Tensor) -> Tensor:
    if bool((p > 0).all()) or bool((p < 0).all()):
        return p * torch.exp(NUDGE * noise)
    scale = float(p.abs().max())
    return p + NUDGE * (min(scale, 1.0) if scale else 1.0) * noise


def _worst(result: Correctness) -> float:
    """How many times its tolerance the worst of the errors is."""
    return max(
        nan_last(result.engine_error) / ENGINE_TOLERANCE,
        nan_last(result.definition_error) / DEFINITION_TOLERANCE,
        nan_last(result.loss_error) / LOSS_TOLERANCE,
    )


def relative_error(direction: Params, truth: Params) -> float:
    """‖direction - truth‖ / ‖truth‖ over all tensors; the absolute error where the truth is zero."""
    if direction.keys() != truth.keys():
        return float("inf")
    norm = flat(truth).norm()
    error = (flat({name: direction[name].to(p.device) for name, p in truth.items()}) - flat(truth)).norm()
    return float(error / norm if norm > 0 else error)
