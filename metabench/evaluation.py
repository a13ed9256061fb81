"""Meta-evaluation: the scores of trained meta-parameters on held-out tasks."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm, last
from metabench.autodiff import TAPE
from metabench.record.cell import BatchNorm
from metabench.tasks.base import Split, TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Params, Task, task_at

EVALUATION_CHUNK = 50
"""Most tasks that are sampled at once: this bounds memory, whatever the number of tasks."""
CHUNK_NUMBERS = 64 << 20
"""Most numbers of tasks that are sampled at once: 50 tasks of 5 classes and 16 colour images of 84x84 have more."""


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
