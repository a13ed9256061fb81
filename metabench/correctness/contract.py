"""The contracts: what algorithms, models and task distributions promise, a clause for each promise."""

from collections.abc import Callable, Iterator, Mapping

import torch

from metabench.correctness.case import Case, ModelCase, TaskCase
from metabench.correctness.clauses import algorithms, models, tasks
from metabench.correctness.outcome import Finding, Outcome, findings, named

ALGORITHM_CLAUSES: Mapping[str, Callable[[Case], Outcome]] = named(
    (
        algorithms.gradient,
        algorithms.checkpoint,
        algorithms.second_order,
        algorithms.first_order,
        algorithms.inner_optimizer,
        algorithms.adapts,
        algorithms.frozen,
        algorithms.order_of_tasks,
        algorithms.one_task,
        algorithms.order_of_examples,
        algorithms.precision,
        algorithms.repeatable,
        algorithms.matched,
        algorithms.pure,
        algorithms.trajectory,
        algorithms.running_statistics,
    )
)
MODEL_CLAUSES: Mapping[str, Callable[[ModelCase], Outcome]] = named(
    (
        models.types,
        models.shapes,
        models.repeatable,
        models.initial_parameters,
        models.batch_statistics,
        models.running_statistics,
        models.names,
        models.pure,
        models.precision,
        models.differentiable,
        models.small_images,
    )
)
TASK_CLAUSES: Mapping[str, Callable[[TaskCase], Outcome]] = named(
    (
        tasks.shapes,
        tasks.types,
        tasks.finite,
        tasks.labels,
        tasks.classes,
        tasks.seeded,
        tasks.splits,
        tasks.description,
        tasks.share,
        tasks.devices,
        tasks.curves,
    )
)


def check_algorithm(case: Case) -> Iterator[Finding]:
    """Try all clauses; raises `Unsupported` for a case that the algorithm cannot be built for."""
    case.algorithm()
    yield from findings(ALGORITHM_CLAUSES, case)


def check_model(case: ModelCase) -> Iterator[Finding]:
    """Try all clauses; raises what the model raises on its inputs, such as `Unsupported` for their shape."""
    case.outputs_in(torch.float32)
    yield from findings(MODEL_CLAUSES, case)


def check_tasks(case: TaskCase) -> Iterator[Finding]:
    """Try all clauses; raises what building the distribution raises, such as `Unsupported` for the shape."""
    _ = case.distribution
    yield from findings(TASK_CLAUSES, case)
