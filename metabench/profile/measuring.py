"""All that a profile is made of: proved right first, then timed, then recorded, then counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins

from metabench.correctness.gate import gate, refuse
from metabench.errors import Unsupported, UserError
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.measure.launches import launches_in
from metabench.measure.marks import divisible
from metabench.measure.phases import PhaseBudget, Phases
from metabench.measure.roofline import measure_peaks, step_bytes, step_flops
from metabench.profile.recording import recorded
from metabench.profile.trace import Trace
from metabench.record.cell import Cell
from metabench.record.measurement import Launches, Peaks
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, in_precision, initial_meta, measured_phases, train_shape
from metabench.tasks.base import TASKS


@dataclass(frozen=True)
class Profile:
    """What was found of one implementation in one setting."""

    cell: Cell
    data: str
    """The name of the data behind the task distribution."""
    machine: str
    divided: bool
    """Whether the engine lets phases be seen inside its step."""
    foreign: bool
    """Whether its arrays are not torch's: then no memory is seen."""
    phases: Phases
    trace: Trace
    text: str
    """The Chrome trace."""
    launches: Launches | None
    """What the recorded iteration asks of a GPU; None on a processor."""
    flops: int
    bytes: int
    peaks: Peaks | None


def cell_of(implementation: str, axes: Mapping[str, Any], cores: int) -> Cell:
    """The cell of `algorithm/engine` and some axes; raises `UserError` for what there is not."""
    algorithm, slash, engine = implementation.partition("/")
    if not slash:
        raise UserError(f"an implementation is ALGORITHM/ENGINE, such as {algorithm or 'maml'}/vmap")
    grid = {**axes, "algorithm": algorithm, "engine": engine, "measure": ["time"]}
    (cell,) = parse_sweep("profile", {"grid": [grid]}, "", cores).cells
    return cell


def profiled(cell: Cell, data_dir: Path | None, seconds: float, peaks: bool) -> Profile:
    """Profile a cell in this process.

    `seconds` are for the phases, and as many again for the recording; 5 s go to the machine's peaks if asked for.

    Raises `Unsupported`, `Incorrect`, `Diverged`, `UserError`.
    """
    device = torch.device(cell.device)
    torch.set_num_threads(cell.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.precision == "tf32"
    if cell.precision == "tf32" and device.type != "cuda":
        raise Unsupported("tf32 is a precision of CUDA devices: on a processor it would be float32")
    distribution = TASKS.get(cell.task).build(train_shape(cell), data_dir)
    workload = Workload(cell, distribution)
    workload.check()
    meta = initial_meta(cell, workload.algorithm)
    for stage in workload.ends:
        refuse(gate(stage, workload.build(stage), distribution, device).fault)
    refuse(workload.proof(meta).before(workload.repeatable(meta).iteration))
    phases = measured_phases(workload, meta, PhaseBudget(seconds=seconds, most=4000))
    text, trace = recorded(lambda marks: workload.repeatable(meta, marks), device, seconds)
    like = next(iter(meta.values()))
    episodes = workload.sampler(like)()
    stage = workload.stage(1.0)
    dtype = torch.bfloat16 if cell.precision == "bfloat16" else like.dtype
    return Profile(
        cell,
        distribution.provenance.name,
        short_name(fingerprint(cell.threads)),
        divisible(workload.engine),
        workload.engine.foreign is not None,
        phases,
        trace,
        text,
        launches_in(text, 1) if device.type == "cuda" else None,
        in_precision(cell, step_flops)(stage, episodes, meta),
        in_precision(cell, step_bytes)(stage, episodes, meta),
        measure_peaks(cell.threads, dtype, device) if peaks else None,
    )


def peaks_of(profile: Profile) -> dict[str, Any] | None:
    """The machine's peaks as plain data."""
    return to_builtins(profile.peaks) if profile.peaks else None
