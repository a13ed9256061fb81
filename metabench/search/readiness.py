"""A configuration made ready for its training: its engine chosen and proved right, and its iterations timed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec.structs import replace

from metabench.correctness.fault import refuse
from metabench.engines.refusals import refusal
from metabench.errors import Diverged, Incorrect, Unsupported, UserError
from metabench.measure.clock import time_once
from metabench.record.cell import Cell
from metabench.record.measurement import Gate
from metabench.sweep.measuring import gate_record
from metabench.sweep.proving import proved
from metabench.sweep.workload import Workload
from metabench.tensors import Params

OTHERS = ("vmap", "loop")
CHOICES = {"cpu": (("native",), OTHERS), "cuda": (("fused", "cudagraph"), OTHERS)}
"""Engines by device: the fastest is taken of the first group in which one carries the algorithm."""
TIMING_S = 1.0


@dataclass(frozen=True)
class Pace:
    """How long a meta-iteration takes."""

    seconds: float
    """Processor time on one thread, since other programs shall not shorten a training; else wall time."""
    wall_s: float
    processor_share: float
    """Processor seconds that the process got in each second."""


@dataclass(frozen=True)
class Ready:
    """An implementation that may be trained."""

    engine: str
    workload: Workload
    meta: Params
    gate: Gate
    pace: Pace


def ready(cell: Cell, engine: str, data_dir: Path | None) -> Ready:
    """The engine that is asked for, or else the one that is chosen, proved right.

    Raises `Unsupported` where no engine carries the configuration; `Incorrect`, `Diverged`, `UserError`.
    """
    if engine:
        return _ready_on(engine, cell, data_dir)
    for names in CHOICES.get(cell.device, (OTHERS,)):
        tried = [_tried(name, cell, data_dir) for name in names]
        carried = [found for found in tried if isinstance(found, Ready)]
        if carried:
            return min(carried, key=lambda found: found.pace.seconds)
    raise next(found for found in reversed(tried) if isinstance(found, Unsupported))


def _tried(engine: str, cell: Cell, data_dir: Path | None) -> Ready | Unsupported:
    """The implementation on that engine, or why it cannot be carried."""
    try:
        return _ready_on(engine, cell, data_dir)
    except Unsupported as error:
        return error
    except (Incorrect, Diverged, UserError):
        raise
    except Exception as error:
        if not (why := refusal(error, engine)):
            raise
        return Unsupported(why)


def _ready_on(engine: str, cell: Cell, data_dir: Path | None) -> Ready:
    """The gate in float64, the proof of the very function that is trained, and its time."""
    found = proved(replace(cell, engine=engine), data_dir)
    workload, meta, device = found.workload, found.meta, torch.device(cell.device)
    workload.training(meta)  # what an engine can time, it cannot always train
    proof = workload.proof(meta)
    proof.prepare()
    run = workload.repeatable(meta)
    time_once(run, device, run.iteration.wait)  # compiles
    refuse(proof.before(run.iteration))
    sample = workload.sampler(next(iter(meta.values())))
    found_pace = pace(lambda: run.iteration.run(run.iteration.take(sample())), run.iteration.wait, cell)
    refuse(proof.after(run.iteration, run.episodes, found_pace.wall_s))
    return Ready(engine, workload, meta, gate_record(found.gate, proof), found_pace)


def pace(iterate: Callable[[], object], wait: Callable[[], object], cell: Cell) -> Pace:
    """What a meta-iteration takes, its tasks drawn, as the mean over about a second."""
    iterate()
    wait()
    wall, processor, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < TIMING_S:
        iterate()
        calls += 1
    wait()
    wall_s, processor_s = time.perf_counter() - wall, time.process_time() - processor
    alone = cell.device == "cpu" and cell.threads == 1
    share = processor_s / wall_s
    return Pace((min(wall_s, processor_s) if alone else wall_s) / calls, wall_s / calls, share)
