"""The tasks of a cell: those that it is trained on, and those that it is judged on."""

from pathlib import Path

from metabench.errors import Unsupported
from metabench.record.cell import Cell
from metabench.tasks.base import TASKS, EpisodeShape, TaskDistribution
from metabench.tasks.query_sets import QuerySets


def train_shape(cell: Cell) -> EpisodeShape:
    """How large a task is in training."""
    return EpisodeShape(cell.train_ways, cell.train_shots, cell.query)


def held_out_shape(cell: Cell) -> EpisodeShape:
    """How large a held-out task is, as it is drawn: the queries that it is judged on are chosen from its own."""
    return EpisodeShape(cell.ways, cell.shots, cell.eval_query_drawn)


def training_tasks(cell: Cell, data_dir: Path | None) -> TaskDistribution:
    """The tasks that a cell is trained on; raises what building them raises."""
    return TASKS.get(cell.task).on(train_shape(cell), data_dir, {**cell.data, "rotation": cell.rotation})


def held_out_tasks(cell: Cell, data_dir: Path | None) -> TaskDistribution:
    """The tasks from which those are made that a cell is judged on; raises what building them raises."""
    source, balanced = TASKS.get(cell.task), cell.eval_queries == "balanced"
    if source.kind == "regression" and not balanced:
        raise Unsupported(f"queries of a regression task have no classes: no eval_queries {cell.eval_queries}")
    try:
        judged = {"rotation": cell.eval_rotation, "eval_classes": cell.eval_classes}
        return source.on(held_out_shape(cell), data_dir, cell.data | judged)
    except Unsupported as error:
        if balanced:
            raise
        raise Unsupported(
            f"with eval_queries {cell.eval_queries} all {cell.eval_query_drawn} queries of a task may be of one class, "
            f"and {error}"
        ) from None


def judged_tasks(cell: Cell, held_out: TaskDistribution) -> TaskDistribution:
    """The tasks that a cell is judged on, made of `held_out_tasks`."""
    if cell.eval_queries == "balanced":
        return held_out
    return QuerySets(held_out, cell.ways * cell.eval_query, cell.eval_queries == "single")
