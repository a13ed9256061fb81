"""What is timed apart from the meta-iteration: one held-out task, and the network differentiated once and twice."""

from dataclasses import replace
from functools import partial
from itertools import cycle

import torch
from torch import Tensor

from metabench.errors import Unsupported
from metabench.evaluation import answers, as_tested, begun_from, population_statistics
from metabench.measure.clock import Budget
from metabench.measure.derivatives import differentiated_once, differentiated_twice
from metabench.record.timing import Adaptation, DoubleBackward
from metabench.sweep.cell_tasks import judged_tasks
from metabench.sweep.clocking import timed
from metabench.sweep.workload import EPISODE_POOL, Workload, build_algorithm, in_precision
from metabench.tasks.base import TaskDistribution
from metabench.tasks.stream import sampled
from metabench.tensors import Batch, Params, Task, task_at

PART = 4
"""The two parts of a whole that is timed each get so small a share of the whole's time budget."""


def measure_adaptation(workload: Workload, meta: Params, held_out: TaskDistribution, budget: Budget) -> Adaptation:
    """What one held-out task takes from its support set to the predictions on its query set, as a test does it.

    The meta-parameters are those that a training begins with: what they are changes the time of no step.
    """
    cell = workload.cell
    algorithm = as_tested(build_algorithm(cell, held_out), cell.eval_steps)
    episodes = sampled(
        judged_tasks(cell, held_out), "test", EPISODE_POOL, _seeded(cell.seed_for("test")), next(iter(meta.values()))
    )
    population = _population(workload, meta) if cell.batch_norm == "running" else {}

    def adapt(task: Task) -> Params:
        return {**algorithm.adapt(begun_from(algorithm, meta, population), task.support), **population}

    def predict(adapted: Params, task: Task) -> Tensor:
        (support, _), (queries, _), _ = task
        return answers(partial(algorithm.predict, adapted), support, queries, cell.batch_norm == "one-query")

    tasks = [task_at(episodes, i) for i in range(EPISODE_POOL)]
    coming, with_support = cycle(tasks), cycle(tasks)
    with_query = cycle([(adapt(task), task) for task in tasks])

    def whole() -> Tensor:
        task = next(coming)
        return predict(adapt(task), task)

    part = replace(budget, seconds=budget.seconds / PART)
    with torch.no_grad():
        return Adaptation(
            timed(workload, in_precision(cell, whole), budget),
            timed(workload, in_precision(cell, lambda: adapt(next(with_support))), part),
            timed(workload, in_precision(cell, lambda: predict(*next(with_query))), part),
            algorithm.inner_steps,
        )


def _population(workload: Workload, meta: Params) -> Params:
    """Statistics in the place of the population's: of one training task, since what they are changes no time."""
    tasks = workload.distribution
    return population_statistics(workload.algorithm, meta, tasks, 1, _seeded(workload.cell.seed_for("train")))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measure_double_backward(workload: Workload, meta: Params, budget: Budget) -> DoubleBackward:
    """What the cell's network takes to be differentiated once and twice, on all examples of a meta-batch at once.

    Its parameters are those of the network alone, whatever else the algorithm learns. Raises `Unsupported` for inputs
    that cannot be differentiated in.
    """
    cell, learner = workload.cell, workload.algorithm.learner
    like = next(iter(meta.values()))
    support, query, _ = workload.sampler(like)()
    if not support.x.is_floating_point():
        raise Unsupported(f"{cell.task} gives whole numbers as inputs, in which nothing can be differentiated")
    batch = Batch(*(torch.cat(parts, 1).flatten(0, 1) for parts in zip(support, query, strict=True)))
    params = {name: p.to(like) for name, p in learner.model.init(_seeded(cell.seed_for("init"))).items()}
    half = replace(budget, seconds=budget.seconds / 2)
    once, twice = (
        timed(workload, partial(in_precision(cell, gradient), learner, params, batch), half)
        for gradient in (differentiated_once, differentiated_twice)
    )
    return DoubleBackward(once, twice, len(batch.x))
