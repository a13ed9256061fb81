"""One cell in one round: the unit of measuring, and the rules by which some are skipped."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Protocol, TypeAlias

import torch
from msgspec.structs import replace

from metabench.algorithms.base import parameter_count
from metabench.errors import Unsupported
from metabench.machine.conditions import disturbances, observe, swapping
from metabench.models.base import MODELS
from metabench.record.cell import AXES, REPEATED, SIZE_AXES, Cell, axes_of
from metabench.record.measurement import Measurement, Noise, Status
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.checkpoints import Pace
from metabench.sweep.process import run_cell
from metabench.sweep.servers import Lend
from metabench.sweep.spec import Settings


@dataclass(frozen=True)
class Job:
    """One cell in one round."""

    cell: Cell
    round: int
    noise: Noise | None = None
    """The noise pair, where the cell is timed for the noise floor alone; `round` is then the pair's number."""
    again: bool = False
    """Whether it measures anew what was disturbed the first time."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from all other jobs of a sweep."""
        return (self.cell.id, self.round, self.noise.side if self.noise else "")

    @property
    def trains_alone(self) -> bool:
        """Whether the job measures quality alone, which other programs on the machine do not change."""
        return self.cell.measure == ("quality",)

    @property
    def clocked(self) -> bool:
        """Whether the job measures what other programs on the machine change: times, and energy."""
        return bool({*REPEATED, "energy"} & {*self.cell.measure})

    def without(self, status: Status, reason: str) -> Measurement:
        """The row of a job that was not measured."""
        return Measurement(
            id=self.cell.id, round=self.round, status=status, reason=reason, cell=self.cell, started=now(), seconds=0.0
        )


PaceOf: TypeAlias = Callable[[Cell], Pace | None]
"""How far the training of a cell is that is running; None where that is not known."""


def unknown(cell: Cell) -> None:
    """`PaceOf` where nobody knows."""


class Progress(Protocol):
    """What is told about a run while it runs."""

    def begin(self, left: Sequence[Job], done: int, settings: Settings, pace: PaceOf = unknown) -> None: ...
    def began(self, job: Job) -> None: ...
    def lost(self, job: Job) -> None: ...
    def finished(self, measurement: Measurement) -> None: ...
    def held(self, measurement: Measurement, sentence: str) -> None: ...
    def warn(self, sentence: str) -> None: ...


class Failures:
    """Failures by machine, as far as they decide which jobs are skipped."""

    def __init__(self, rows: Iterable[Measurement], cells: Iterable[Cell], data_dir: Path | None) -> None:
        """`rows` are those of the run so far, of `cells`."""
        known = {cell.id: cell for cell in cells}
        self._out_of_memory = [
            (row.machine or "", known[row.id]) for row in rows if row.status == "oom" and row.id in known
        ]
        self._noise: dict[str, str] = {}
        self._data_dir = data_dir

    def note(self, job: Job, found: Measurement) -> None:
        """Take in what came of a job."""
        if found.status == "oom":
            self._out_of_memory.append((found.machine or "", job.cell))
        if job.noise and found.status != "ok":
            self._noise.setdefault(found.machine or "", f"the noise configuration was {found.status} before")

    def skip(self, job: Job, machine: str) -> Measurement | None:
        """The row of a job that need not be tried on `machine`; None for one that is to be measured."""
        if job.noise and machine in self._noise:
            return job.without("skipped", self._noise[machine])
        too_large = (
            cell for where, cell in self._out_of_memory if where == machine and self._is_larger(job.cell, cell)
        )
        if failed := next(too_large, None):
            return job.without("skipped", f"memory ran out already at {failed.describe()}")
        return None

    def _is_larger(self, cell: Cell, other: Cell) -> bool:
        return is_larger(cell, other, lambda model: _model_size(model, cell, self._data_dir))


def observed(
    job: Job,
    settings: Settings,
    data_dir: Path | None,
    code: Path | None = None,
    meeting: str = "",
    lend: Lend | None = None,
    checkpoints: Path | None = None,
) -> Measurement:
    """Measure a cell, by the sources in `code` or else by these, and note what made its times doubtful."""
    before = observe(job.cell.device)
    given = job.cell, job.round, settings, data_dir
    measurement = run_cell(*given, code=code, meeting=meeting, lend=lend, checkpoints=checkpoints)
    after = observe()
    noted = disturbances(before, after, measurement.time, job.cell.threads) if job.clocked else swapping(before, after)
    return replace(measurement, warnings=[*measurement.warnings, *noted])


def unobserved(
    job: Job,
    settings: Settings,
    data_dir: Path | None,
    stop: Event,
    lend: Lend | None = None,
    checkpoints: Path | None = None,
) -> Measurement:
    """Measure a cell that trains alone: other programs do not change its score, so nothing is noted of them."""
    return run_cell(job.cell, job.round, settings, data_dir, stop, lend=lend, checkpoints=checkpoints)


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_larger(cell: Cell, other: Cell, size: Callable[[str], int]) -> bool:
    """Whether `cell` lies on the same line as `other` and needs at least as much memory.

    On the same line: equal but for sizes and training; larger: no size smaller. `size` counts a model's parameters.
    """
    sized = (*SIZE_AXES, "model", "threads", *axes_of("training", "evaluation"), "outer_clip")
    if any(cell[name] != other[name] for name in AXES if name not in sized):
        return False
    if any(cell[name] < other[name] for name in SIZE_AXES):
        return False
    return cell.model == other.model or size(cell.model) > size(other.model)


def _model_size(name: str, cell: Cell, data_dir: Path | None) -> int:
    """How many numbers the model's parameters hold on the cell's task; 0 where it cannot be built."""
    try:
        distribution = training_tasks(cell, data_dir)
        model = MODELS.get(name)(distribution.input_shape, distribution.outputs)
    except Unsupported:
        return 0
    return parameter_count(model.init(torch.Generator()))
