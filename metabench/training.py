"""Meta-training and meta-evaluation of one implementation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.autodiff import TAPE
from metabench.engines.base import Step
from metabench.tasks.base import Split, TaskDistribution
from metabench.tensors import Params, Task, cast, task_at

EVALUATION_CHUNK = 50  # tasks sampled at once: bounds memory, whatever the number of tasks


class Diverged(Exception):
    """The loss of meta-training is not finite."""


@dataclass(frozen=True)
class Outer:
    """The outer optimiser: Adam, or plain descent with Reptile's interpolation as its natural reading."""

    optimizer: Literal["adam", "sgd"]
    lr: float
    decay: Literal["none", "linear"]
    """`linear`: the rate falls to zero over the iterations."""
    iterations: int


class MetaOptimizer:
    """Hands directions to a torch optimiser; owns the meta-parameters that it updates in place."""

    def __init__(self, meta: Params, outer: Outer) -> None:
        self.meta = meta
        tensors = list(meta.values())
        # The fused kernels take a third of the time of the others on small networks.
        if outer.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(tensors, lr=outer.lr, fused=True)
        else:
            self.optimizer = torch.optim.SGD(tensors, lr=outer.lr, fused=True)
        self.schedule = (
            torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.0, max(outer.iterations, 1))
            if outer.decay == "linear"
            else None
        )

    def update(self, direction: Params) -> None:
        """One outer step against the direction."""
        for name, p in self.meta.items():
            p.grad = direction[name]
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()


@dataclass(frozen=True)
class CurvePoint:
    """One point of a training curve: seconds are those spent training, evaluations not counted."""

    iteration: int
    seconds: float
    loss: float
    value: float
    """Mean score over the validation tasks."""


@dataclass(frozen=True)
class Trained:
    """The outcome of meta-training."""

    meta: Params
    seconds: float
    curve: list[CurvePoint]


def train(
    step: Step,
    optimizer: MetaOptimizer,
    sample: Callable[[], Task],
    iterations: int,
    evaluate_now: Callable[[Params], float],
    curve_points: int,
) -> Trained:
    """Meta-train for `iterations`, sampling included in the seconds; raises `Diverged`.

    The curve has `curve_points` evenly spaced points and one before the first iteration.
    """
    device = next(iter(optimizer.meta.values())).device
    marks = {round(i * iterations / curve_points) for i in range(1, curve_points + 1)}
    curve = [CurvePoint(0, 0.0, float("nan"), evaluate_now(optimizer.meta))]
    seconds = 0.0
    start = time.perf_counter()
    for iteration in range(1, iterations + 1):
        direction, metrics = step(optimizer.meta, sample())
        optimizer.update(direction)
        if iteration in marks:
            loss = float(metrics["loss"])
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds += time.perf_counter() - start
            if not torch.isfinite(metrics["loss"]):
                raise Diverged(f"the training loss is {loss} by iteration {iteration}")
            curve.append(CurvePoint(iteration, seconds, loss, evaluate_now(optimizer.meta)))
            start = time.perf_counter()
    return Trained(optimizer.meta, seconds, curve)


def evaluate(
    algorithm: Algorithm,
    meta: Params,
    distribution: TaskDistribution,
    split: Split,
    tasks: int,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Scores on the query sets of held-out tasks after 0, 1, … `steps` inner steps: (tasks, points), float64, CPU.

    Accuracy in [0, 1] or mean squared error. A query set is predicted at once: with batch normalisation by batch
    statistics the evaluation is transductive. An algorithm without an inner loop gives one point.
    """
    algorithm = replace(algorithm, inner_steps=steps, autodiff=TAPE)
    like = next(iter(meta.values()))
    rows = []
    for done in range(0, tasks, EVALUATION_CHUNK):
        episodes = cast(distribution.sample(split, min(EVALUATION_CHUNK, tasks - done), generator), like)
        for i in range(episodes.support.x.shape[0]):
            rows.append(_scores(algorithm, meta, task_at(episodes, i)))
    return torch.stack(rows).double().cpu()


def _scores(algorithm: Algorithm, meta: Params, task: Task) -> Tensor:
    x, y = task.query
    with torch.no_grad():
        points = algorithm.trajectory(meta, task.support)
        return torch.stack([algorithm.learner.score_of(algorithm.predict(adapted, x), y) for adapted in points])
