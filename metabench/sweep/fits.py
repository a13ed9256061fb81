"""What a cell's algorithm fits to a few held-out regression tasks, to be drawn."""

import torch

from metabench.algorithms.base import Algorithm
from metabench.evaluation import fitted_curves
from metabench.record.axes import LARGEST
from metabench.record.cell import Cell
from metabench.record.quality import Fits, FittedTask, Prediction
from metabench.sweep.workload import in_precision
from metabench.tasks.base import Drawable, TaskDistribution
from metabench.tensors import Params, cast, task_at

FITTED_TASKS, FITTED_POINTS = 3, 101


def recorded_fits(cell: Cell, algorithm: Algorithm, meta: Params, held_out: TaskDistribution) -> Fits | None:
    """A few held-out tasks, drawn: their functions, support points, and the predictions after 0, 1 and all inner steps.

    Every algorithm has the same tasks. None for tasks that cannot be drawn, or predictions that are not finite.
    """
    if not isinstance(held_out, Drawable):
        return None
    generator = torch.Generator().manual_seed(cell.seed_for("test"))
    tasks, x, y = held_out.curves("test", FITTED_TASKS, FITTED_POINTS, generator)
    like = next(iter(meta.values()))
    tasks = cast(tasks, like)
    found: list[FittedTask] = []
    finite = True
    for i in range(FITTED_TASKS):
        support = task_at(tasks, i).support
        predict = in_precision(cell, fitted_curves)
        steps = predict(algorithm, meta, support, x.to(like), cell.eval_steps)
        finite = finite and all(bool((step.abs() <= LARGEST).all()) for step in steps)
        shown = sorted({0, min(1, len(steps) - 1), len(steps) - 1})
        found.append(
            FittedTask(
                _short(support.x),
                _short(support.y),
                _short(y[i]),
                [Prediction(step, _short(steps[step])) for step in shown],
            )
        )
    return Fits(_short(x), found) if finite else None


def _short(values: torch.Tensor) -> list[float]:
    """The values as a list of numbers of five digits."""
    return [float(f"{value:.5g}") for value in values.cpu().double().flatten().tolist()]
