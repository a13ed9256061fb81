"""All that a profile is made of: proved right first, then timed, then recorded, then counted."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins

from metabench.algorithms.base import ALGORITHMS
from metabench.correctness.fault import refuse
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported, UserError
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.measure.launches import launches_in
from metabench.measure.marks import divisible
from metabench.measure.phases import PhaseBudget, Phases
from metabench.measure.roofline import measure_peaks, step_bytes, step_flops
from metabench.profile.crowding import Crowding, watch
from metabench.profile.recording import Recording, recorded
from metabench.profile.trace import Trace
from metabench.record.cell import Cell
from metabench.record.measurement import Launches, Peaks
from metabench.sweep.proving import configured, proved
from metabench.sweep.spec import parse_sweep
from metabench.sweep.workload import Workload, in_precision, measured_phases
from metabench.tensors import Params


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
    recording: Recording
    launches: Launches | None
    """What the recorded iteration asks of a GPU; None on a processor."""
    flops: int
    bytes: int
    peaks: Peaks | None
    crowding: Crowding
    alternative: str
    """An engine that may be faster and carries the algorithm; empty where none is known to be worth a try."""
    asked: Mapping[str, Any]
    """The axes that were asked for, so that commands can be given for the same setting."""

    @property
    def trace(self) -> Trace:
        """The recorded iteration that is kept whole."""
        return self.recording.trace


def cell_of(implementation: str, axes: Mapping[str, Any], cores: int) -> Cell:
    """The cell of `algorithm/engine` and some axes; raises `UserError` for what there is not."""
    algorithm, engine = implementation_parts(implementation)
    grid = {**axes, "algorithm": algorithm, "engine": engine, "measure": ["time"]}
    (cell,) = parse_sweep("profile", {"grid": [grid]}, "", cores).cells
    return cell


def implementation_parts(name: str) -> tuple[str, str]:
    """Algorithm and engine of `algorithm/engine`; raises `UserError` where one of them is missing.

    Names by path may have slashes of their own: `sub/mine.py:Mine/my.py:engine`.
    """
    parts = name.split("/")
    splits = [("/".join(parts[:at]), "/".join(parts[at:])) for at in range(1, len(parts))]
    whole = (split for split in splits if split[0] in ALGORITHMS or ":" in split[0])
    algorithm, engine = next(whole, splits[0] if splits else (name, ""))
    if not algorithm or not engine:
        raise UserError(f"an implementation is ALGORITHM/ENGINE, such as {algorithm or 'maml'}/vmap")
    return algorithm, engine


def profiled(
    cell: Cell, data_dir: Path | None, seconds: float, peaks: bool, asked: Mapping[str, Any] | None = None
) -> Profile:
    """Profile a cell in this process.

    `seconds` are for the phases, and as many again for the recording; 5 s go to the machine's peaks if asked for.

    Raises `Unsupported`, `Incorrect`, `Diverged`, `UserError`.
    """
    with configured(cell):
        workload, meta, _ = proved(cell, data_dir)
        return _profiled(workload, meta, seconds, peaks, asked or {})


def _profiled(workload: Workload, meta: Params, seconds: float, peaks: bool, asked: Mapping[str, Any]) -> Profile:
    cell, device = workload.cell, torch.device(workload.cell.device)
    refuse(workload.proof(meta).before(workload.repeatable(meta).iteration))
    crowding = watch()
    phases = measured_phases(workload, meta, PhaseBudget(seconds=seconds, most=4000))
    recording = recorded(lambda marks: workload.repeatable(meta, marks), device, seconds)
    crowded = crowding()
    like = next(iter(meta.values()))
    episodes = workload.sampler(like)()
    stage = workload.stage(1.0)
    dtype = torch.bfloat16 if cell.precision == "bfloat16" else like.dtype
    return Profile(
        cell,
        workload.distribution.provenance.name,
        short_name(fingerprint(cell.threads)),
        divisible(workload.engine),
        workload.engine.foreign is not None,
        phases,
        recording,
        launches_in(recording.text, 1) if device.type == "cuda" else None,
        in_precision(cell, step_flops)(stage, episodes, meta),
        in_precision(cell, step_bytes)(stage, episodes, meta),
        measure_peaks(cell.threads, dtype, device) if peaks else None,
        crowded,
        alternative_to(workload),
        asked,
    )


def alternative_to(workload: Workload) -> str:
    """An engine of torch that may be faster: one that takes all tasks at once, or else one that compiles.

    Empty for an engine that compiles already, and where no such engine carries the algorithm.
    """
    now, several = workload.engine, workload.cell.meta_batch > 1
    own = [(name, engine) for name, engine in ENGINES if not engine.library]
    batched = [entry for entry in own if entry[1].concurrent_tasks and several and not now.concurrent_tasks]
    compiling = [entry for entry in own if entry[1].compiles]
    for name, engine in [] if now.compiles else [*batched, *compiling]:
        with suppress(Unsupported):
            engine.build(workload.stage(1.0))
            return name
    return ""


def peaks_of(profile: Profile) -> dict[str, Any] | None:
    """The machine's peaks as plain data."""
    return to_builtins(profile.peaks) if profile.peaks else None
