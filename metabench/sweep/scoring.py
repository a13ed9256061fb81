"""The quality of a cell: it is trained, and scored on held-out tasks."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from metabench.errors import Diverged
from metabench.evaluation import evaluate, population_statistics
from metabench.record.axes import LARGEST
from metabench.record.quality import Quality, Score, TaskScores
from metabench.sources import digests
from metabench.statistics.intervals import mean_interval
from metabench.sweep.checkpoints import Checkpoint, Place, digest_of_code
from metabench.sweep.fits import recorded_fits
from metabench.sweep.trainings import Training
from metabench.sweep.workload import Workload, build_algorithm, in_precision, judged_tasks, library_of
from metabench.tasks.base import Split, TaskDistribution, splits_of
from metabench.tensors import Params
from metabench.training import Nothing, Trained, train

VALIDATION_TASKS = 100
"""Most tasks of a point of the curve; no more than there are test tasks."""
POPULATION_TASKS = 100
"""Training tasks whose statistics stand for the population's."""


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
    judged_on = judged_tasks(cell, held_out)
    eval_s = 0.0

    def score(point: Params, split: Split, tasks: int, seed: int, every_step: bool = True) -> torch.Tensor:
        nonlocal eval_s
        begin = time.perf_counter()
        population: Params = {}
        if cell.batch_norm == "running":
            draw = torch.Generator().manual_seed(cell.seed_for("train"))
            population = population_statistics(learned, point, distribution, POPULATION_TASKS, draw)
        generator = torch.Generator().manual_seed(seed)
        judging = cell.eval_steps, generator, cell.batch_norm, population, every_step
        scores = evaluate(judged, point, judged_on, split, tasks, *judging)
        eval_s += time.perf_counter() - begin
        return scores

    learned, judged = build_algorithm(cell, distribution), build_algorithm(cell, held_out)
    score = in_precision(cell, score)

    validated = "validation" in splits_of(held_out)

    def validation_score(point: Params) -> float:
        if not (workload.leads and validated):
            return 0.0
        tasks = min(VALIDATION_TASKS, cell.eval_tasks)
        return float(score(point, "validation", tasks, cell.seed_for("validation"), every_step=False).mean())

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
        return train(iteration, sample, cell.iterations, validation_score, curve_points, enter, keeping)

    trained, trained_by = _found_or_trained(workload, shared, train_now, meta)
    if not workload.leads:
        return None
    before = eval_s
    scores = score(trained.meta, "test", cell.eval_tasks, cell.seed_for("test"))
    if not bool(torch.isfinite(scores).all()):
        raise Diverged("the score of a held-out task is not finite")
    metric = "accuracy" if distribution.kind == "classification" else "mse"
    by_step = [mean_interval(column.numpy(), metric) for column in scores.T]
    final = by_step[-1]
    if not all(max(abs(m.low), abs(m.high)) <= LARGEST for m in by_step):
        raise Diverged("the scores of held-out tasks are too large for an interval")
    fits = recorded_fits(cell, judged, trained.meta, held_out) if cell.seed == 0 else None
    return Quality(
        value=final.value,
        low=final.low,
        high=final.high,
        metric=metric,
        tasks=final.n or 0,
        iterations=cell.iterations,
        train_s=trained.seconds,
        eval_s=eval_s,
        test_s=eval_s - before,
        batch_norm=cell.batch_norm if judged.learner.model.batch_statistics else "none",
        by_step=[Score(step=i, value=m.value, low=m.low, high=m.high) for i, m in enumerate(by_step)],
        curve=trained.curve if validated else [],
        trained_by=trained_by,
        resumed_at=checkpoint.resumed_at if checkpoint else [],
        fits=fits,
        task_scores=task_scores(scores[:, -1].tolist(), cell.ways * cell.eval_query if metric == "accuracy" else 0),
    )


def _found_or_trained(
    workload: Workload, shared: Path | None, train_now: Callable[[], Trained], meta: Params
) -> tuple[Trained, str | None]:
    """The training that another cell has kept in `shared`, and the id of that cell; else what `train_now` gives."""
    if shared is None or not shared.is_dir():
        return train_now(), None
    data, library = workload.distribution.provenance.content_hash, library_of(workload.engine)
    facts = {"code": digest_of_code(), "sources": json.dumps(digests()), "torch": str(torch.__version__)}
    return Training(shared, workload.cell, {**facts, "data": data, "library": library}).found_or(train_now, meta)


def task_scores(scores: Sequence[float], answers: int) -> TaskScores:
    """The score of each test task, for a file: as its number of right answers, or else with four digits.

    `answers` is how many a task has, 0 where the score is no share of them. A task distribution of other packages may
    have another number of them than it is asked for.
    """
    if answers and all(math.isclose(round(n), n, abs_tol=1e-3) for n in (score * answers for score in scores)):
        return TaskScores(1 / answers, [round(score * answers) for score in scores])
    return TaskScores(1.0, [float(f"{score:.4g}") for score in scores])
