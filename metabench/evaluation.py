"""Meta-evaluation: the scores of trained meta-parameters on held-out tasks.

Many tasks are scored at once, by `torch.func.vmap`: on a processor that is two to ten times as fast as one after the
other, since the calls of torch take longer than the arithmetic. The scores are those of the plain loop, to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metabench.algorithms.base import Algorithm
from metabench.algorithms.inner_loop import last
from metabench.autodiff import FUNCTIONAL, TAPE, Autodiff
from metabench.record.cell import BatchNorm
from metabench.tasks.base import Split, TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Params, Task, task_at

EVALUATION_CHUNK = 50
"""Most tasks that are sampled at once: this bounds memory, whatever the number of tasks."""
CHUNK_NUMBERS = 64 << 20
"""Most numbers of tasks that are sampled at once: 50 tasks of 5 classes and 16 colour images of 84x84 have more."""
AT_ONCE_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 25}
"""Most numbers of a tensor that holds something of many tasks. On processors a larger one leaves the caches, and each
task takes longer again: measured with conv4-32, conv4-64 and conv4-64-maxpool on images of 28x28."""
FEWEST = 8
"""Fewer forward passes at once take as long as one after the other, or longer."""
CLOSE = 1e-3
"""How near the scores of many tasks at once must come to those of one task alone: far wider than rounding."""

Each: TypeAlias = Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]
"""A function of one tensor, made one of a stack of them: `torch.func.vmap`, or `in_turn`."""
OfTask: TypeAlias = Callable[[Algorithm, Each, Task], Params]
"""What is to be known of one task, as named tensors; `Each` is how it goes through several things."""


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
    support set is normalised by itself, but for `running` without an inner loop: then by `population`, too.
    """
    one_query = batch_norm == "one-query"

    def scores(algorithm: Algorithm, each: Each, task: Task) -> Params:
        (support, _), (x, y), _ = task
        points = algorithm.trajectory(begun_from(algorithm, meta, population or {}), task.support)
        found = []
        for adapted in points if every_step else iter([last(points)]):
            predict = partial(algorithm.predict, {**adapted, **(population or {})})
            outputs = answers(predict, support, x, one_query, each)
            # autocast may give bfloat16, in which a share of right answers has two digits; x may be whole numbers
            found.append(algorithm.learner.score_of(outputs.double(), y))
        return {"scores": torch.stack(found)}

    rows: list[Tensor] = []
    like = next(iter(meta.values()))
    queries, at_once = _size(distribution, split)
    of_tasks = OfTasks(scores, replace(algorithm, inner_steps=steps), queries if one_query else 1)
    while len(rows) < tasks:
        episodes = sampled(distribution, split, min(at_once, tasks - len(rows)), generator, like)
        rows.extend(of_tasks(episodes)["scores"])
    return torch.stack(rows).cpu()


def begun_from(algorithm: Algorithm, meta: Params, population: Params) -> Params:
    """What the adaptation to a held-out task begins with, where queries are normalised by the statistics `population`.

    Without an inner loop, predictions compare features of the support set with those of queries: both are normalised
    alike. An inner loop normalises the support set by itself, as in training.
    """
    return {**meta, **population} if algorithm.order == "none" else meta


def as_tested(algorithm: Algorithm, steps: int, autodiff: Autodiff = TAPE) -> Algorithm:
    """The algorithm as it adapts to a held-out task: all of it, whatever technique trained it."""
    plain = replace(algorithm, first_order=False, checkpoint=False, second_order="reverse", kept_steps=0)
    return replace(plain, inner_steps=steps, autodiff=autodiff)


def in_turn(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What `torch.func.vmap` makes of a function, by a loop."""
    return lambda stacked: torch.stack([function(one) for one in stacked])


def answers(
    predict: Callable[[Tensor], Tensor], support: Tensor, queries: Tensor, one_query: bool, each: Each = in_turn
) -> Tensor:
    """The outputs of all queries: of the whole query set at once, or with the support set and one of them at a time."""
    if one_query:
        return each(lambda query: predict(torch.cat([support, query[None]]))[-1])(queries)
    return predict(queries)


def _size(distribution: TaskDistribution, split: Split) -> tuple[int, int]:
    """How many queries a task has, and how many tasks are sampled at once; one is sampled to see that."""
    (x, _), (query, _), _ = distribution.sample(split, 1, torch.Generator().manual_seed(0))
    return query.shape[1], max(1, min(EVALUATION_CHUNK, CHUNK_NUMBERS // (x.numel() + query.numel())))


class OfTasks:
    """A function of one task, called for all tasks of episode batches: for many at once, or one after the other.

    One after the other where torch cannot vmap the function, where the first task then has other results than alone,
    under autocast, which does not reach all that is vmapped, and where few tasks are all that can be held at once.
    """

    def __init__(self, function: OfTask, algorithm: Algorithm, passes: int = 1) -> None:
        """`passes` is in how many passes the function goes through the queries of a task."""
        alone, vmapped = (as_tested(algorithm, algorithm.inner_steps, autodiff) for autodiff in (TAPE, FUNCTIONAL))
        self._alone, self._vmapped = partial(function, alone, in_turn), partial(function, vmapped)
        self._passes = passes
        self._many: Callable[[Task], Params] | None = None
        self._at_once = 1
        self.together = False
        """Whether many tasks are taken at once; it is known with the first."""

    def __call__(self, episodes: Task) -> Params:
        """The function's results of each task, stacked; no graph is kept of them."""
        with torch.no_grad():
            begun = self._begin(episodes) if self._many is None else None
            parts = [begun] if begun is not None else []
            done = self._at_once if parts else 0
            for start in range(done, episodes.support.x.shape[0], self._at_once):
                part = task_at(episodes, slice(start, start + self._at_once))
                parts.append(self._many(part) if self.together and self._many else self._one_by_one(part))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _begin(self, episodes: Task) -> Params | None:
        """Find out by the first task how many are taken at once, and whether they then have the results of one alone.

        Gives the results of the first tasks if they were taken at once.
        """
        device = episodes.support.x.device
        with Largest() as seen:
            alone = self._alone(task_at(episodes, 0))
        passes = AT_ONCE_NUMBERS.get(device.type, AT_ONCE_NUMBERS["cpu"]) // seen.numbers
        each: Each = partial(torch.func.vmap, chunk_size=max(1, passes))
        self._many = torch.func.vmap(partial(self._vmapped, each))
        if passes < FEWEST or torch.is_autocast_enabled(device.type):
            return None
        self._at_once = max(1, passes // self._passes)
        try:
            found: Params = self._many(task_at(episodes, slice(0, self._at_once)))
        except RuntimeError:  # what torch cannot vmap; whatever else it is, tasks alone raise it again
            return None
        self.together = all(_close(found[name][0], alone[name]) for name in alone)
        return found if self.together else None

    def _one_by_one(self, part: Task) -> Params:
        found = [self._alone(task_at(part, i)) for i in range(part.support.x.shape[0])]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}


class Largest(TorchFunctionMode):
    """Mode that looks for the largest tensor that functions of torch give out.

    A mode of torch's dispatcher would import its compiler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 1

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.numbers = max(self.numbers, found.numel())
        return found


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=CLOSE, atol=CLOSE, equal_nan=True)


def fitted_curves(algorithm: Algorithm, meta: Params, support: Batch, x: Tensor, steps: int) -> list[Tensor]:
    """Predictions at x (points, inputs) after 0, 1, … `steps` inner steps on a support set: (points, outputs) each."""
    algorithm = as_tested(algorithm, steps)
    with torch.no_grad():
        return [algorithm.predict(adapted, x) for adapted in algorithm.trajectory(meta, support)]


def population_statistics(
    algorithm: Algorithm, meta: Params, distribution: TaskDistribution, tasks: int, generator: torch.Generator
) -> Params:
    """The mean, over training tasks, of the batch statistics of the query set after adaptation.

    They are what running averages hold at the end of a meta-training, without the iterations before. Raises
    `Unsupported` for an algorithm that they are not enough for.
    """
    algorithm.check_batch_norm("running")

    def seen(algorithm: Algorithm, each: Each, task: Task) -> Params:
        adapted = algorithm.effective(algorithm.adapt(meta, task.support))
        return algorithm.learner.model.statistics(adapted, task.query.x)

    like = next(iter(meta.values()))
    episodes = sampled(distribution, "train", tasks, generator, like)
    return {name: each.mean(0) for name, each in OfTasks(seen, algorithm)(episodes).items()}
