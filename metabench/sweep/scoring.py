"""The quality of a cell: it is trained, and scored on held-out tasks."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from msgspec.structs import replace

from metabench.record.quality import Quality, TaskScores
from metabench.record.timing import finite
from metabench.sweep.checkpoints import Checkpoint, Place
from metabench.sweep.fits import recorded_fits
from metabench.sweep.judging import Judge, by_step
from metabench.sweep.training_code import code_facts
from metabench.sweep.trainings import Training
from metabench.sweep.workload import Workload, library_of
from metabench.tasks.base import Split, TaskDistribution, splits_of
from metabench.tensors import Params
from metabench.training import Nothing, Trained, train

VALIDATION_TASKS = 100
"""Most tasks of a point of the curve; no more than there are test tasks."""


def measure_quality(
    workload: Workload,
    meta: Params,
    held_out: TaskDistribution,
    curve_points: int,
    place: Place | None = None,
    say: Callable[[str], object] = print,
    shared: Path | None = None,
) -> Quality | None:
    """Meta-train on the workload's tasks, then evaluate on tasks made of `held_out`.

    The training is kept in `place` while it goes on, and gone on with if it is there. Where it begins anew although one
    was kept, `say` is told why. `shared` is the folder of a training that other cells may share.
    """
    cell, distribution = workload.cell, workload.distribution
    judge = Judge(cell, distribution, held_out)
    eval_s = 0.0

    def score(point: Params, split: Split, tasks: int, every_step: bool = True) -> torch.Tensor:
        nonlocal eval_s
        begin = time.perf_counter()
        scores = judge.scores(point, split, tasks, cell.seed_for(split), every_step)
        eval_s += time.perf_counter() - begin
        return scores

    training = _training_in(shared, workload) if shared and shared.is_dir() else None
    validated = "validation" in splits_of(held_out)

    def validation_score(point: Params) -> float:
        return float(score(point, "validation", min(VALIDATION_TASKS, cell.eval_tasks), every_step=False).mean())

    def look(done: int, point: Params) -> float:
        if not (workload.leads and validated):
            return 0.0
        if training:
            training.keep_point(done, point)
        return validation_score(point)

    checkpoint: Checkpoint | None = None

    def train_now() -> Trained:
        nonlocal checkpoint
        iteration, enter = workload.training(meta)
        sample = workload.sampler(next(iter(meta.values())))
        if place:
            data = ", ".join(each.provenance.content_hash for each in (distribution, held_out))
            kept = {"data": data, "library": library_of(workload.engine), "curve_points": str(curve_points)}
            checkpoint = Checkpoint(place, kept, sample, meta, cell.iterations, say, workload.group)
        keeping = checkpoint or Nothing()
        return train(iteration, sample, cell.iterations, look, curve_points, enter, keeping)

    trained, trained_by = training.found_or(train_now, meta) if training else (train_now(), None)
    if not workload.leads:
        return None
    curve = trained.curve if validated else []
    if training and trained_by:
        points = ((point, training.point(point.iteration, meta)) for point in curve)
        curve = [replace(point, value=finite(validation_score(params))) for point, params in points if params]
    before = eval_s
    scores = score(trained.meta, "test", cell.eval_tasks)
    means = judge.means(scores)
    final = means[-1]
    fits = recorded_fits(cell, judge.algorithm, trained.meta, held_out) if cell.seed == 0 else None
    return Quality(
        value=final.value,
        low=final.low,
        high=final.high,
        metric=judge.metric,
        tasks=final.n or 0,
        iterations=cell.iterations,
        train_s=trained.seconds,
        eval_s=eval_s,
        test_s=eval_s - before,
        batch_norm=cell.batch_norm if judge.algorithm.batch_statistics else "none",
        by_step=by_step(means),
        curve=curve,
        trained_by=trained_by,
        resumed_at=checkpoint.resumed_at if checkpoint else [],
        fits=fits,
        task_scores=task_scores(scores[:, -1].tolist(), judge.answers),
    )


def _training_in(shared: Path, workload: Workload) -> Training:
    """The training that other cells have kept in `shared`, or will find there."""
    data, library = workload.distribution.provenance.content_hash, library_of(workload.engine)
    return Training(shared, workload.cell, {**code_facts(), "data": data, "library": library})


def task_scores(scores: Sequence[float], answers: int) -> TaskScores:
    """The score of each held-out task, for a file: as its number of right answers, or else with four digits.

    `answers` is how many a task has, 0 where the score is no share of them. A task distribution of other packages may
    have another number of them than it is asked for.
    """
    if answers and all(math.isclose(round(n), n, abs_tol=1e-3) for n in (score * answers for score in scores)):
        return TaskScores(1 / answers, [round(score * answers) for score in scores])
    return TaskScores(1.0, [float(f"{score:.4g}") for score in scores])
