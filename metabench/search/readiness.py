"""A configuration made ready for its training: its engine chosen and proved right, and its iterations timed."""

from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec.structs import replace

from metabench.correctness.fault import refuse
from metabench.engines.refusals import refusal
from metabench.errors import Diverged, Incorrect, Unsupported, UserError
from metabench.measure.clock import Budget, measure_time, time_once
from metabench.record.cell import Cell
from metabench.record.measurement import Gate
from metabench.sweep.measuring import gate_record
from metabench.sweep.proving import proved
from metabench.sweep.workload import Workload
from metabench.tensors import Params

FIRST = {"cpu": ("native",), "cuda": ("fused", "cudagraph")}
"""Engines by device that are taken without a look at others, where they carry the algorithm."""
OTHERS = ("vmap", "loop")
"""Engines of which the fastest is taken otherwise."""
TIMING = Budget(seconds=1.0)
SAMPLING = Budget(seconds=0.1)


@dataclass(frozen=True)
class Ready:
    """An implementation that may be trained."""

    engine: str
    workload: Workload
    meta: Params
    gate: Gate
    iteration_s: float
    """Seconds of a meta-iteration, its tasks drawn."""


def ready(cell: Cell, engine: str, data_dir: Path | None) -> Ready:
    """The engine that is asked for, or else the one that is chosen, proved right.

    Raises `Unsupported` where no engine carries the configuration; `Incorrect`, `Diverged`, `UserError`.
    """
    if engine:
        return _ready_on(engine, cell, data_dir)
    for name in FIRST.get(cell.device, ()):
        found = _tried(name, cell, data_dir)
        if isinstance(found, Ready):
            return found
    tried = [_tried(name, cell, data_dir) for name in OTHERS]
    carried = [found for found in tried if isinstance(found, Ready)]
    if not carried:
        raise next(found for found in reversed(tried) if isinstance(found, Unsupported))
    return min(carried, key=lambda found: found.iteration_s)


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
    timed = measure_time(run, device, TIMING, run.iteration.wait).summary.median
    refuse(proof.after(run.iteration, run.episodes, timed))
    sample = workload.sampler(next(iter(meta.values())))
    drawing = measure_time(sample, device, SAMPLING).summary.median
    return Ready(engine, workload, meta, gate_record(found.gate, proof), timed + drawing)
