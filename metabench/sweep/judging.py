"""How meta-parameters of a cell are judged: scored on tasks of a split, and the scores summed up."""

from dataclasses import dataclass
from functools import cached_property

import torch

from metabench.algorithms.base import Algorithm
from metabench.errors import Diverged
from metabench.evaluation import evaluate, population_statistics
from metabench.record.axes import LARGEST
from metabench.record.cell import Cell
from metabench.record.quality import Score
from metabench.record.timing import Mean
from metabench.statistics.intervals import mean_interval
from metabench.sweep.cell_tasks import judged_tasks
from metabench.sweep.workload import build_algorithm, in_precision
from metabench.tasks.base import Kind, Split, TaskDistribution
from metabench.tensors import Params
from metabench.text import counted

POPULATION_TASKS = 100
"""Training tasks whose statistics stand for the population's."""


@dataclass(frozen=True)
class Judge:
    """Scores meta-parameters as the cell says: after so many inner steps, on such query sets, in its precision."""

    cell: Cell
    training: TaskDistribution
    held_out: TaskDistribution

    @cached_property
    def algorithm(self) -> Algorithm:
        """The cell's algorithm, for held-out tasks."""
        return build_algorithm(self.cell, self.held_out)

    @property
    def metric(self) -> str:
        """What the scores are."""
        return metric_of(self.held_out.kind)

    @property
    def answers(self) -> int:
        """Queries of a task that may be answered rightly; 0 where the score is no share of them."""
        return self.cell.ways * self.cell.eval_query if self.metric == "accuracy" else 0

    def scores(self, meta: Params, split: Split, tasks: int, seed: int, every_step: bool = True) -> torch.Tensor:
        """Scores on so many tasks, after each inner step or after the last alone: (tasks, points), float64, CPU."""
        return in_precision(self.cell, self._scores)(meta, split, tasks, seed, every_step)

    def _scores(self, meta: Params, split: Split, tasks: int, seed: int, every_step: bool) -> torch.Tensor:
        cell, population = self.cell, Params()
        if cell.batch_norm == "running":
            learned, draw = build_algorithm(cell, self.training), torch.Generator().manual_seed(cell.seed_for("train"))
            population = population_statistics(learned, meta, self.training, POPULATION_TASKS, draw)
        generator = torch.Generator().manual_seed(seed)
        judging = cell.eval_steps, generator, cell.batch_norm, population, every_step
        return evaluate(self.algorithm, meta, judged_tasks(cell, self.held_out), split, tasks, *judging)

    def means(self, scores: torch.Tensor) -> list[Mean]:
        """The mean over tasks at each point, with its interval. Raises `Diverged` for what is no finite score."""
        finite = torch.isfinite(scores)
        if not bool(finite.all()):
            lost, step = int((~finite.all(1)).sum()), int(finite.all(0).logical_not().nonzero()[0])
            after = counted(step, "inner step")
            raise Diverged(f"{lost} of {len(scores)} held-out tasks have no finite score, the first after {after}")
        found = [mean_interval(column.numpy(), self.metric) for column in scores.T]
        if not all(max(abs(mean.low), abs(mean.high)) <= LARGEST for mean in found):
            raise Diverged("the scores of held-out tasks are too large for an interval")
        return found


def metric_of(kind: Kind) -> str:
    """What tasks of a kind are scored by."""
    return "accuracy" if kind == "classification" else "mse"


def by_step(means: list[Mean]) -> list[Score]:
    """Means after 0, 1, … inner steps, as they are recorded."""
    return [Score(step=i, value=mean.value, low=mean.low, high=mean.high) for i, mean in enumerate(means)]
