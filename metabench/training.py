"""Meta-training and meta-evaluation of one implementation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, pi
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.algorithms.presets import Decay
from metabench.autodiff import TAPE
from metabench.engines.base import Step
from metabench.tasks.base import Split, TaskDistribution
from metabench.tensors import Params, Task, cast, task_at

EVALUATION_CHUNK = 50  # tasks sampled at once: bounds memory, whatever the number of tasks


class Diverged(Exception):
    """The loss of meta-training is not finite."""


BatchNorm: TypeAlias = Literal["transductive", "one-query", "running"]

COSINE_FLOOR = 0.01
"""Of the rate, where `cosine` ends: MAML++ goes from 1e-3 to 1e-5."""
HALVING_PERIOD = 2000
"""Iterations after which `halving` halves the rate: the schedule of Prototypical networks."""
STAGES = 100
"""How many times in a meta-training an algorithm can change (`Algorithm.at`)."""


@dataclass(frozen=True)
class Outer:
    """The outer optimiser: Adam, or plain descent with Reptile's interpolation as its natural reading."""

    optimizer: Literal["adam", "sgd"]
    lr: float
    decay: Decay
    """`linear` falls to zero over the iterations, `cosine` to a hundredth; `halving` halves every 2000."""
    iterations: int
    warmup: int = 0
    """Iterations over which the rate rises linearly to `lr`, on top of the decay."""
    clip: float = 0.0
    """Largest norm of a direction, over all meta-parameters; 0 is none."""

    def factor(self, iteration: int) -> float:
        """What `lr` is multiplied by in the iteration of that number, the first being 0."""
        share = min(iteration / max(self.iterations, 1), 1.0)
        decayed = {
            "none": 1.0,
            "linear": 1 - share,
            "cosine": COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + cos(pi * share)) / 2,
            "halving": 0.5 ** (iteration // HALVING_PERIOD),
        }[self.decay]
        return decayed * min(1.0, (iteration + 1) / (self.warmup + 1))


class MetaOptimizer:
    """Hands directions to a torch optimiser; owns the meta-parameters that it updates in place."""

    def __init__(self, meta: Params, outer: Outer) -> None:
        self.meta = meta
        self.clip = outer.clip
        tensors = list(meta.values())
        # The fused kernels take a third of the time of the others on small networks.
        if outer.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(tensors, lr=outer.lr, fused=True)
        else:
            self.optimizer = torch.optim.SGD(tensors, lr=outer.lr, fused=True)
        constant = outer.decay == "none" and not outer.warmup
        self.schedule = None if constant else torch.optim.lr_scheduler.LambdaLR(self.optimizer, outer.factor)

    def update(self, direction: Params) -> None:
        """One outer step against the direction."""
        for name, p in self.meta.items():
            p.grad = direction[name]
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.meta.values(), self.clip)
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
    step_at: Callable[[float], Step],
    optimizer: MetaOptimizer,
    sample: Callable[[], Task],
    iterations: int,
    evaluate_now: Callable[[Params], float],
    curve_points: int,
) -> Trained:
    """Meta-train for `iterations`, sampling included in the seconds; raises `Diverged`.

    `step_at` gives the step for a share in [0, 1) of the training done; it is asked a hundred times.
    The curve has `curve_points` evenly spaced points and one before the first iteration.
    """
    device = next(iter(optimizer.meta.values())).device
    marks = {round(i * iterations / curve_points) for i in range(1, curve_points + 1)}
    curve = [CurvePoint(0, 0.0, float("nan"), evaluate_now(optimizer.meta))]
    seconds = 0.0
    start = time.perf_counter()
    stage, step = -1, step_at(0.0)
    for iteration in range(1, iterations + 1):
        if stage != (iteration - 1) * STAGES // iterations:
            stage = (iteration - 1) * STAGES // iterations
            step = step_at(stage / STAGES)
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
    batch_norm: BatchNorm = "transductive",
    population: Params | None = None,
) -> Tensor:
    """Scores on the query sets of held-out tasks after 0, 1, … `steps` inner steps: (tasks, points), float64, CPU.

    Accuracy in [0, 1] or mean squared error. An algorithm without an inner loop gives one point. `batch_norm` says
    what query examples are normalised by: `transductive`, the whole query set; `one-query`, the support set and that
    one query; `running`, the statistics of `population`. The inner loop always sees the support set alone.
    """
    algorithm = replace(algorithm, inner_steps=steps, autodiff=TAPE, first_order=False, checkpoint=False)
    like = next(iter(meta.values()))
    rows = []
    for done in range(0, tasks, EVALUATION_CHUNK):
        episodes = cast(distribution.sample(split, min(EVALUATION_CHUNK, tasks - done), generator), like)
        for i in range(episodes.support.x.shape[0]):
            rows.append(_scores(algorithm, meta, task_at(episodes, i), batch_norm == "one-query", population or {}))
    return torch.stack(rows).double().cpu()


def _scores(algorithm: Algorithm, meta: Params, task: Task, one_query: bool, population: Params) -> Tensor:
    (support, _), (x, y), _ = task
    scores = []
    with torch.no_grad():
        for adapted in algorithm.trajectory(meta, task.support):
            adapted = {**adapted, **population}
            if one_query:
                outputs = torch.cat([algorithm.predict(adapted, torch.cat([support, q[None]]))[-1:] for q in x])
            else:
                outputs = algorithm.predict(adapted, x)
            # autocast may give bfloat16, in which a share of right answers has two digits
            scores.append(algorithm.learner.score_of(outputs.to(x.dtype), y))
    return torch.stack(scores)


def population_statistics(
    algorithm: Algorithm, meta: Params, distribution: TaskDistribution, tasks: int, generator: torch.Generator
) -> Params:
    """The mean, over training tasks, of the batch statistics of the query set after adaptation.

    What running averages hold at the end of a meta-training, without the iterations before.
    """
    algorithm = replace(algorithm, autodiff=TAPE, first_order=False, checkpoint=False)
    episodes = cast(distribution.sample("train", tasks, generator), next(iter(meta.values())))
    seen = []
    with torch.no_grad():
        for i in range(tasks):
            task = task_at(episodes, i)
            adapted = algorithm.effective(algorithm.adapt(meta, task.support))
            seen.append(algorithm.learner.model.statistics(adapted, task.query.x))
    return {name: torch.stack([one[name] for one in seen]).mean(0) for name in seen[0]}
