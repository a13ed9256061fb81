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
) -> str:
    """What is wrong with a cell's tasks or its model, as one sentence; empty if nothing is.

    It takes a few samples of two tasks and a few forward passes of `EXAMPLES` examples. Raises what the distribution
    or the model raises, and `Unsupported` for a model without the statistics that `batch_norm` needs.
    """
    tried = TaskCase(lambda: distribution, shape, learner.kind, device, splits)
    _ = tried.batches  # what is raised here is no finding: too few classes, a file that is missing
    if fault := _first_fault(QUICK_TASK_CLAUSES, tried):
        return fault
    inputs = tried.inputs.to(device)
    case = ModelCase(lambda *_: learner.model, distribution.input_shape, distribution.outputs, inputs)
    _try(case)
    return _first_fault(QUICK_MODEL_CLAUSES, case) or (_running(case) if batch_norm == "running" else "")


def _first_fault(clauses: Sequence[Callable[[Tried], Outcome]], case: Tried) -> str:
    for clause in clauses:
        try:
            fault = clause(case).fault
        except Unsupported:
            continue
        if fault:
            return fault
    return ""


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


def _running(case: ModelCase) -> str:
    """What keeps queries from being normalised by the statistics of a population."""
    if not case.model.batch_statistics:
        return ""
    with torch.no_grad():
        found = case.model.statistics(case.params, case.x)
    if not found:
        raise Unsupported(
            "the model gives no statistics of a batch, so batch_norm 'running' would be transductive: "
            "choose another batch_norm, or have statistics give means and variances"
        )
    return models.running_statistics(case).fault
