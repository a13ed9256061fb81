"""One trial: a training that fits the time, watched on validation tasks, and judged on others."""

import time
from math import isfinite
from pathlib import Path

import torch
from msgspec.structs import replace

from metabench.correctness.problem import check_problem
from metabench.errors import Diverged, Unsupported
from metabench.record.cell import Cell
from metabench.record.quality import CurvePoint
from metabench.record.searching import Asked
from metabench.record.timing import finite
from metabench.search.readiness import ready
from metabench.search.sampling import Pruning
from metabench.search.space import rounded_down
from metabench.sweep.cell_tasks import held_out_shape, held_out_tasks
from metabench.sweep.child import Record
from metabench.sweep.judging import Judge, by_step
from metabench.sweep.scoring import task_scores
from metabench.sweep.workload import Workload
from metabench.tasks.base import Split
from metabench.tensors import Params
from metabench.training import train

VALIDATION: Split = "validation"
CURVE_TASKS = 100
"""Validation tasks of a point of the curve."""
APART = 1
"""Distance of the seed of the tasks that a trial is judged on from that of the tasks of its curve."""
LARGEST_SHARE = 0.9
"""Share of the time that the iterations may take as they were timed: the rest is for what slows a training down."""


class Pruned(Exception):
    """A training that is not worth its time."""


def run_trial(cell: Cell, asked: Asked, pruning: Pruning, data_dir: Path | None, record: Record) -> None:
    """Prove the trial's implementation right, train it, and judge it on validation tasks; records each outcome.

    Test classes are never drawn. Raises `Pruned`, and whatever else ends it early.
    """
    record({"phase": "set-up"})
    began = time.perf_counter()
    held_out = held_out_tasks(cell, data_dir)
    found = ready(cell, asked.engine, data_dir)
    distribution = found.workload.distribution
    provenance = distribution.provenance
    record({"data": {"name": provenance.name, "content_hash": provenance.content_hash, **provenance.details}})
    cell = replace(found.workload.cell, iterations=iterations_for(cell, asked, found.pace.seconds))
    timed = {"iteration_s": found.pace.seconds, "processor_share": found.pace.processor_share}
    record({"cell": cell.to_json(), "gate": found.gate, **timed})
    workload = Workload(cell, distribution)
    judge = Judge(cell, distribution, held_out)
    judge.algorithm.check_batch_norm(cell.batch_norm)
    check_problem(
        *(judge.algorithm.learner, held_out, held_out_shape(cell), torch.device(cell.device)),
        *((VALIDATION,), cell.batch_norm),
    )
    record({"ready_s": time.perf_counter() - began})

    record({"phase": "training"})
    curve = Curve(judge, asked.curve_points, pruning, record)
    iteration, enter = workload.training(found.meta)
    sample = workload.sampler(next(iter(found.meta.values())))
    trained = train(iteration, sample, cell.iterations, curve.look, asked.curve_points, enter)
    record({"train_s": trained.seconds})

    record({"phase": "validation"})
    scores = judge.scores(trained.meta, VALIDATION, asked.validation_tasks, cell.seed_for(VALIDATION) + APART)
    means = judge.means(scores)
    kept = task_scores(scores[:, -1].tolist(), judge.answers)
    record({"score": means[-1], "by_step": by_step(means), "task_scores": kept})


def iterations_for(cell: Cell, asked: Asked, iteration_s: float) -> int:
    """The iterations that fit the time, with few digits; those that are asked for, where they are.

    Raises `Unsupported` where none fits.
    """
    if "iterations" in asked.axes:
        return cell.iterations
    if not (fits := rounded_down(LARGEST_SHARE * asked.seconds / iteration_s)):
        raise Unsupported(f"a meta-iteration takes {iteration_s:.2g} s: a training of {asked.seconds:g} s has none")
    return fits


class Curve:
    """Scores in the course of a training, which they may end."""

    def __init__(self, judge: Judge, points: int, pruning: Pruning, record: Record) -> None:
        self.judge, self.points, self.pruning, self.record = judge, points, pruning, record
        self.curve: list[CurvePoint] = []
        self.seconds = 0.0
        self.since = time.perf_counter()

    def look(self, iteration: int, meta: Params) -> float:
        """The mean score after so many iterations. Raises `Pruned`, and `Diverged` for what is no finite score."""
        self.seconds += time.perf_counter() - self.since if self.curve else 0.0
        number = len(self.curve)
        cell = self.judge.cell
        value = float(self.judge.scores(meta, VALIDATION, CURVE_TASKS, cell.seed_for(VALIDATION), False).mean())
        self.curve.append(CurvePoint(iteration, self.seconds, None, finite(value)))
        self.record({"curve": self.curve})
        if not isfinite(value):
            raise Diverged(f"its score after {iteration} iterations is not finite")
        if 0 < number < self.points and self.pruning.ends(number, value):
            self.record({"train_s": self.seconds})
            raise Pruned(f"its score after {iteration} iterations is worse than the median of earlier trials")
        self.since = time.perf_counter()
        return value
