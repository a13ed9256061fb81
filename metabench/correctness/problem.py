"""The quick part of the contracts of models and task distributions, which a cell's own must keep before it is timed."""

from collections.abc import Callable, Sequence

import torch

from metabench.algorithms.base import Learner
from metabench.correctness.case import ModelCase, TaskCase
from metabench.correctness.clauses import models, tasks
from metabench.correctness.outcome import Outcome, Tried
from metabench.errors import Unsupported, in_short
from metabench.machine.limits import ran_out
from metabench.record.cell import BatchNorm
from metabench.tasks.base import EpisodeShape, Split, TaskDistribution

QUICK_TASK_CLAUSES: Sequence[Callable[[TaskCase], Outcome]] = (
    tasks.shapes,
    tasks.types,
    tasks.finite,
    tasks.labels,
    tasks.classes,
    tasks.seeded,
)
QUICK_MODEL_CLAUSES: Sequence[Callable[[ModelCase], Outcome]] = (
    models.types,
    models.shapes,
    models.repeatable,
    models.initial_parameters,
    models.batch_statistics,
)


def check_problem(
    learner: Learner,
    distribution: TaskDistribution,
    shape: EpisodeShape,
    device: torch.device,
    splits: tuple[Split, ...] = ("train",),
    batch_norm: BatchNorm = "transductive",
) -> None:
    """Raise `Unsupported`, with one sentence, for tasks or a model that no implementation can be measured on.

    It takes a few samples of two tasks and a few forward passes of `EXAMPLES` examples. Raises what the distribution
    or the model raises, too.
    """
    tried = TaskCase(lambda: distribution, shape, learner.kind, device, splits)
    _ = tried.batches  # what is raised here is no finding: too few classes, a file that is missing
    _refuse(QUICK_TASK_CLAUSES, tried)
    inputs = tried.inputs.to(device)
    case = ModelCase(lambda *_: learner.model, distribution.input_shape, distribution.outputs, inputs)
    _try(case)
    _refuse(QUICK_MODEL_CLAUSES, case)
    if batch_norm == "running" and case.model.batch_statistics:
        _refuse([models.running_statistics], case)


def _refuse(clauses: Sequence[Callable[[Tried], Outcome]], case: Tried) -> None:
    """Raise `Unsupported` for the first clause that is broken."""
    for clause in clauses:
        try:
            fault = clause(case).fault
        except Unsupported:
            continue
        if fault:
            raise Unsupported(fault)


def _try(case: ModelCase) -> None:
    """Have the model predict; says on what, where it raises."""
    try:
        case.outputs_in(torch.float32)
    except (Unsupported, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if ran_out(str(error)):
            raise
        what = f"inputs of shape {tuple(case.input_shape)} in {case.inputs.dtype}"
        raise RuntimeError(f"the model raises {type(error).__name__} on {what}: {in_short(error)}") from error
