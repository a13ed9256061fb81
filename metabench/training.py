"""Meta-training and meta-evaluation of one implementation."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm, last
from metabench.autodiff import TAPE
from metabench.engines.base import Iteration
from metabench.errors import Diverged
from metabench.record.cell import BatchNorm
from metabench.record.quality import CurvePoint
from metabench.tasks.base import Split, TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Params, Task, task_at

EVALUATION_CHUNK = 50
"""Most tasks that are sampled at once: this bounds memory, whatever the number of tasks."""
CHUNK_NUMBERS = 64 << 20
"""Most numbers of tasks that are sampled at once: 50 tasks of 5 classes and 16 colour images of 84x84 have more."""


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
    every_step: bool = True,
) -> Tensor:
    """Scores on the query sets of held-out tasks after 0, 1, … `steps` inner steps: (tasks, points), float64, CPU.

    Without `every_step`, after all inner steps alone: one point. Accuracy in [0, 1] or mean squared error. An algorithm
    without an inner loop gives one point. `batch_norm` says what query examples are normalised by: `transductive`, the
    whole query set; `one-query`, the support set and that one query; `running`, the statistics of `population`. The
    inner loop always sees the support set alone.
    """
    algorithm = replace(algorithm, inner_steps=steps, autodiff=TAPE, first_order=False, checkpoint=False)
    like = next(iter(meta.values()))
    one_query = batch_norm == "one-query"
    rows: list[Tensor] = []
    at_once = _at_once(distribution, split)
    while len(rows) < tasks:
        episodes = sampled(distribution, split, min(at_once, tasks - len(rows)), generator, like)
        for i in range(episodes.support.x.shape[0]):
            task = task_at(episodes, i)
            with torch.no_grad():
                points = algorithm.trajectory(meta, task.support)
                shown = points if every_step else iter([last(points)])
                rows.append(_scores(algorithm, shown, task, one_query, population or {}))
    return torch.stack(rows).cpu()


def _at_once(distribution: TaskDistribution, split: Split) -> int:
    """How many tasks are sampled at once; one is sampled to see how large they are."""
    (x, _), (query, _), _ = distribution.sample(split, 1, torch.Generator().manual_seed(0))
    return max(1, min(EVALUATION_CHUNK, CHUNK_NUMBERS // (x.numel() + query.numel())))


def _scores(algorithm: Algorithm, points: Iterator[Params], task: Task, one_query: bool, population: Params) -> Tensor:
    (support, _), (x, y), _ = task
    scores = []
    for adapted in points:
        adapted = {**adapted, **population}
        if one_query:
            outputs = torch.cat([algorithm.predict(adapted, torch.cat([support, q[None]]))[-1:] for q in x])
        else:
            outputs = algorithm.predict(adapted, x)
        # autocast may give bfloat16, in which a share of right answers has two digits; x may be whole numbers
        scores.append(algorithm.learner.score_of(outputs.double(), y))
    return torch.stack(scores)


def fitted_curves(algorithm: Algorithm, meta: Params, support: Batch, x: Tensor, steps: int) -> list[Tensor]:
    """Predictions at x (points, inputs) after 0, 1, … `steps` inner steps on a support set: (points, outputs) each."""
    algorithm = replace(algorithm, inner_steps=steps, autodiff=TAPE, first_order=False, checkpoint=False)
    with torch.no_grad():
        return [algorithm.predict(adapted, x) for adapted in algorithm.trajectory(meta, support)]


def population_statistics(
    algorithm: Algorithm, meta: Params, distribution: TaskDistribution, tasks: int, generator: torch.Generator
) -> Params:
    """The mean, over training tasks, of the batch statistics of the query set after adaptation.

    They are what running averages hold at the end of a meta-training, without the iterations before.
    """
    algorithm = replace(algorithm, autodiff=TAPE, first_order=False, checkpoint=False)
    episodes = sampled(distribution, "train", tasks, generator, next(iter(meta.values())))
    seen = []
    with torch.no_grad():
        for i in range(tasks):
            task = task_at(episodes, i)
            adapted = algorithm.effective(algorithm.adapt(meta, task.support))
            seen.append(algorithm.learner.model.statistics(adapted, task.query.x))
    return {name: torch.stack([one[name] for one in seen]).mean(0) for name in seen[0]}


def _finite(value: float) -> float | None:
    """None for what JSON has no word for."""
    return value if math.isfinite(value) else None
