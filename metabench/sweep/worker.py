"""The process of one cell: `python -m metabench.sweep.worker JOB RESULT`.

Reads a job (JSON), proves the implementation right, measures what is asked for, and writes what it has after every
phase, so that whatever ends the process, the parent knows how far it came.
"""

import json
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from metabench.algorithms.base import ALGORITHMS, Algorithm, Learner, parameter_count
from metabench.engines.base import ENGINES, Engine, Step
from metabench.errors import Unsupported
from metabench.measure.clock import Budget, Timing, measure_time
from metabench.measure.gate import DEFINITION_TOLERANCE, ENGINE_TOLERANCE, Gate, gate
from metabench.measure.memory import measure_memory
from metabench.measure.statistics import mean_interval
from metabench.models.base import MODELS
from metabench.sweep.cell import Cell
from metabench.tasks.base import TASKS, Split, TaskDistribution
from metabench.tensors import Params, Task, cast
from metabench.training import Diverged, MetaOptimizer, evaluate, population_statistics, train

EPISODE_POOL = 4  # different episode batches that timed steps go through
VALIDATION_TASKS = 100
POPULATION_TASKS = 100  # training tasks whose statistics stand for the population's
SAMPLING_BUDGET = Budget(seconds=0.2)


class Incorrect(Exception):
    """The gate did not pass."""


def measure_cell(
    cell: Cell, settings: dict[str, Any], data_dir: Path | None, record: Callable[[dict[str, Any]], None]
) -> None:
    """Run all phases of a cell, recording each one's outcome; raises what ends it early."""
    device = torch.device(cell.device)
    record({"phase": "set-up"})
    if cell.precision == "tf32" and device.type != "cuda":
        raise Unsupported("tf32 is a precision of CUDA devices: on a processor it would be float32")
    distribution = TASKS.get(cell.task).build(cell.shape, data_dir)
    provenance = distribution.provenance
    record({"data": {"name": provenance.name, "content_hash": provenance.content_hash, **provenance.details}})
    algorithm = build_algorithm(cell, distribution)
    engine = ENGINES.get(cell.engine)
    if cell.precision == "bfloat16" and not engine.autocasts:
        raise Unsupported(f"autocast does not reach the convolutions of {cell.engine}: part would run in float32")
    meta = initial_meta(cell, algorithm)
    record({"parameters": parameter_count(meta)})

    record({"phase": "correctness gate"})
    for stage in {stage_of(algorithm, cell, 0.0): None, stage_of(algorithm, cell, 1.0): None}:
        step = engine.build(stage)
        result = gate(stage, step, distribution, device)
        record({"gate": _gate(result)})
        if not result.passed:
            raise Incorrect(result.reason)
    # Time and memory are those of the last stage, the one that lasts.
    step = in_precision(cell, step)

    if "time" in cell.measure:
        record({"phase": "timing"})
        budget = Budget(seconds=settings["time_budget_s"])
        record({"time": _time(cell, engine, step, meta, distribution, budget)})
    if "memory" in cell.measure:
        record({"phase": "memory"})
        iteration = meta_iteration(cell, step, meta, distribution)
        iteration()
        record({"memory": asdict(measure_memory(iteration, device))})
    if "quality" in cell.measure:
        record({"phase": "quality"})
        held_out = TASKS.get(cell.task).build(cell.eval_shape, data_dir)
        step_at = steps_by_stage(cell, engine, algorithm)
        record({"quality": _quality(cell, step_at, meta, distribution, held_out, settings["curve_points"])})


def _gate(result: Gate) -> dict[str, Any]:
    return {
        "engine_error": _finite(result.engine_error),
        "definition_error": _finite(result.definition_error),
        "engine_tolerance": ENGINE_TOLERANCE,
        "definition_tolerance": DEFINITION_TOLERANCE,
    }


def build_algorithm(cell: Cell, distribution: TaskDistribution) -> Algorithm:
    """The cell's algorithm on its model, for tasks of that distribution."""
    learner = Learner(
        MODELS.get(cell.model)(distribution.input_shape, distribution.outputs),
        distribution.kind,
        distribution.training_classes,
    )
    kind = ALGORITHMS.get(cell.algorithm)
    if cell.train_ways != cell.ways and not kind.any_ways:
        raise Unsupported(
            f"{cell.algorithm} has a head for {cell.train_ways} classes: it cannot tell {cell.ways} apart"
        )
    return kind(
        learner,
        cell.inner_lr,
        cell.inner_steps,
        inner_optimizer=cell.inner_optimizer,
        first_order=cell.first_order > 0,
        checkpoint=cell.checkpoint,
    )


def stage_of(algorithm: Algorithm, cell: Cell, progress: float) -> Algorithm:
    """The algorithm as it is when that share of the training is done."""
    return replace(algorithm.at(progress), first_order=cell.first_order == 1 or progress < cell.first_order)


def steps_by_stage(cell: Cell, engine: Engine, algorithm: Algorithm) -> Callable[[float], Step]:
    """The engine's step at any stage, built anew only where the algorithm changes."""

    @lru_cache(maxsize=1)
    def build(stage: Algorithm) -> Step:
        return in_precision(cell, engine.build(stage))

    return lambda progress: build(stage_of(algorithm, cell, progress))


P = ParamSpec("P")
R = TypeVar("R")


def in_precision(cell: Cell, function: Callable[P, R]) -> Callable[P, R]:
    """The function under autocast where the cell asks for bfloat16: parameters and outer update stay in float32."""
    if cell.precision != "bfloat16":
        return function

    def cast_automatically(*args: P.args, **kwargs: P.kwargs) -> R:
        # Without its cache of cast weights: that holds tensors beyond the graph that they belong to.
        with torch.autocast(cell.device, torch.bfloat16, cache_enabled=False):
            return function(*args, **kwargs)

    return cast_automatically


def initial_meta(cell: Cell, algorithm: Algorithm) -> Params:
    """Initial meta-parameters on the cell's device and with its precision: the same for every algorithm."""
    meta = algorithm.init(torch.Generator().manual_seed(cell.seed_for("init")))
    return {name: p.to(cell.device, _dtype(cell)) for name, p in meta.items()}


def meta_iteration(cell: Cell, step: Step, meta: Params, distribution: TaskDistribution) -> Callable[[], None]:
    """One meta-iteration on episodes that are on the device already: directions, average, outer update.

    The outer rate is zero: the same work is done, but the parameters, and with them the work of the next call,
    stay as they are, however often it is called.
    """
    like = next(iter(meta.values()))
    still = replace(cell.outer_setting, lr=0.0)
    optimizer = MetaOptimizer({name: p.clone() for name, p in meta.items()}, still)
    generator = torch.Generator().manual_seed(cell.seed_for("train"))
    pool = [cast(distribution.sample("train", cell.meta_batch, generator), like) for _ in range(EPISODE_POOL)]
    turn = 0

    def iteration() -> None:
        nonlocal turn
        direction, _ = step(optimizer.meta, pool[turn % EPISODE_POOL])
        optimizer.update(direction)
        turn += 1

    return iteration


def _time(
    cell: Cell, engine: Engine, step: Step, meta: Params, distribution: TaskDistribution, budget: Budget
) -> dict[str, Any]:
    device = torch.device(cell.device)
    step_timing = measure_time(meta_iteration(cell, step, meta, distribution), device, budget)
    sample = sampler(cell, distribution, next(iter(meta.values())))
    sampling = measure_time(sample, device, SAMPLING_BUDGET)
    compile_s = max(0.0, step_timing.first - step_timing.summary.median) if engine.compiles else 0.0
    return {
        "step": _summary(step_timing),
        "sampling": _summary(sampling),
        "compile_s": compile_s,
        "first_step_s": step_timing.first,
        "noisy": step_timing.noisy,
        "note": step_timing.note,
    }


def sampler(cell: Cell, distribution: TaskDistribution, like: torch.Tensor) -> Callable[[], Task]:
    """The cell's stream of training episodes, moved to the device."""
    generator = torch.Generator().manual_seed(cell.seed_for("train"))
    return lambda: cast(distribution.sample("train", cell.meta_batch, generator), like)


def _summary(timing: Timing) -> dict[str, Any]:
    return asdict(timing.summary) | {"samples": list(timing.summary.samples)}


def _quality(
    cell: Cell,
    step_at: Callable[[float], Step],
    meta: Params,
    distribution: TaskDistribution,
    held_out: TaskDistribution,
    curve_points: int,
) -> dict[str, Any]:
    """Meta-train on `distribution`, then evaluate on `held_out`."""

    def score(point: Params, split: Split, tasks: int, seed: int) -> torch.Tensor:
        population: Params = {}
        if cell.batch_norm == "running":
            draw = torch.Generator().manual_seed(cell.seed_for("train"))
            population = population_statistics(learned, point, distribution, POPULATION_TASKS, draw)
        generator = torch.Generator().manual_seed(seed)
        return evaluate(judged, point, held_out, split, tasks, cell.eval_steps, generator, cell.batch_norm, population)

    learned, judged = build_algorithm(cell, distribution), build_algorithm(cell, held_out)
    score = in_precision(cell, score)

    def validation_score(point: Params) -> float:
        return float(score(point, "validation", VALIDATION_TASKS, cell.seed_for("validation"))[:, -1].mean())

    trained = train(
        step_at,
        MetaOptimizer(meta, cell.outer_setting),
        sampler(cell, distribution, next(iter(meta.values()))),
        cell.iterations,
        validation_score,
        curve_points,
    )
    scores = score(trained.meta, "test", cell.eval_tasks, cell.seed_for("test"))
    if not bool(torch.isfinite(scores).all()):
        raise Diverged("the score of a held-out task is not finite")
    by_step = [mean_interval(column.numpy()) for column in scores.T]
    final = by_step[-1]
    if not all(math.isfinite(m.low) and math.isfinite(m.high) for m in by_step):
        raise Diverged("the scores of held-out tasks are too large for an interval")
    return {
        "metric": "accuracy" if distribution.kind == "classification" else "mse",
        "value": final.value,
        "low": final.low,
        "high": final.high,
        "tasks": final.n,
        "by_step": [{"step": i, "value": m.value, "low": m.low, "high": m.high} for i, m in enumerate(by_step)],
        "batch_norm": cell.batch_norm if judged.learner.model.batch_statistics else "none",
        "iterations": cell.iterations,
        "train_s": trained.seconds,
        "curve": [
            asdict(point) | {"loss": _finite(point.loss), "value": _finite(point.value)} for point in trained.curve
        ],
    }


def _finite(value: float) -> float | None:
    """Strict JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _dtype(cell: Cell) -> torch.dtype:
    return torch.float64 if cell.precision == "float64" else torch.float32


def status_of(error: BaseException) -> str:
    """The status that an exception gives to its cell."""
    if isinstance(error, Unsupported):
        return "unsupported"
    if isinstance(error, Incorrect):
        return "incorrect"
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return "oom"
    return "crashed"


def _follow_parent() -> None:
    """End this process when the parent's end of standard input closes: a killed sweep leaves nothing running."""
    # Not through sys.stdin: a thread inside its buffer aborts the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Entry point of the process."""
    job_file, result_file = Path(sys.argv[1]), Path(sys.argv[2])
    threading.Thread(target=_follow_parent, daemon=True).start()
    job = json.loads(job_file.read_text(encoding="utf-8"))
    cell = Cell.from_json(job["cell"])
    torch.set_num_threads(cell.threads)
    # float32 means float32: cuDNN would round convolutions to 10 bits.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.precision == "tf32"
    state: dict[str, Any] = {"status": "crashed", "reason": ""}

    def record(part: dict[str, Any]) -> None:
        # A number that JSON has no word for raises here: it ends this cell, not the run.
        text = json.dumps(state | part, allow_nan=False)
        state.update(part)
        temporary = result_file.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(result_file)

    try:
        measure_cell(cell, job["settings"], Path(job["data_dir"]) if job["data_dir"] else None, record)
        record({"status": "ok"})
    except Exception as error:
        status = status_of(error)
        kind = f"{type(error).__name__}: " if status == "crashed" else ""
        first_line = (str(error).strip() or "no message").splitlines()[0]
        trace = traceback.format_exc() if status == "crashed" else ""
        record({"status": status, "reason": f"{kind}{first_line}", "traceback": trace})
    os._exit(0)  # all is on disk, and torch takes a third of a second to tidy up


if __name__ == "__main__":
    main()
