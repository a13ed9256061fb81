"""What other programs disturbed is measured again, once, when all else of a run is done."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from msgspec import structs

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.sweep.jobs import Job

TIMED = ("time", "phases", "work", "energy", "adaptation", "double_backward")
"""What other programs disturb; memory and quality stay as they are."""
CLOCKED: Mapping[str, Callable[[Any], float]] = {
    "time": lambda found: found.step.median,
    "adaptation": lambda found: found.whole.seconds.median,
    "double_backward": lambda found: found.once.seconds.median + found.twice.seconds.median,
}
"""The parts of a measurement that say what disturbed them, with the seconds of each."""
WITH_TIME = ("time", "phases", "work", "energy", "launches")
"""What goes with the time of a meta-iteration."""


def is_disturbed(job: Job, found: Measurement) -> bool:
    """Whether a job is to be measured again. The noise configuration is not: its pairs say how noisy the machine is."""
    return job.noise is None and found.status == "ok" and bool(_reasons(found))


def why(found: Measurement) -> str:
    """A sentence on what disturbed a measurement."""
    return f"{found.cell.describe()} was disturbed ({_reasons(found)[0]}): it is measured again at the end"


def _reasons(found: Measurement) -> list[str]:
    """What disturbed the parts of a measurement."""
    parts = (getattr(found, name) for name in CLOCKED)
    return [part.disturbed.reason for part in parts if part and part.disturbed]


def job_again(job: Job) -> Job:
    """The job that measures anew what was disturbed."""
    return replace(job, cell=timed_alone(job.cell), again=True)


def timed_alone(cell: Cell) -> Cell:
    """The configuration without the measures that other programs do not disturb."""
    return structs.replace(cell, measure=tuple(m for m in cell.measure if m in TIMED))


def settled(first: Measurement, second: Measurement) -> Measurement:
    """The first measurement with what the second has measured anew.

    It stays as it was where the second failed or is of another machine. So does a part of it that was disturbed the
    second time as well, and took longer.
    """
    if second.status != "ok" or second.machine != first.machine:
        return first
    better = [name for name in CLOCKED if _is_better(name, getattr(second, name), getattr(first, name))]
    if not better:
        return first
    names = dict.fromkeys([*(WITH_TIME if "time" in better else ()), *better])
    parts = {name: value for name in names if (value := getattr(second, name)) is not None}
    seconds = (first.seconds or 0.0) + (second.seconds or 0.0)
    return structs.replace(first, seconds=seconds, warnings=second.warnings, **parts)


def _is_better(name: str, second: Any, first: Any) -> bool:
    """Whether a part that was measured again takes the place of the first one."""
    seconds = CLOCKED[name]
    return bool(first and second and not (second.disturbed and seconds(second) >= seconds(first)))
