"""What other programs disturbed is measured again, once, when all else of a run is done."""

from msgspec import structs

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.sweep.jobs import Job

TIMED = ("time", "phases", "work", "energy")
"""What other programs disturb; memory and quality stay as they are."""


def is_disturbed(job: Job, found: Measurement) -> bool:
    """Whether a job is to be measured again. The noise configuration is not: its pairs say how noisy the machine is."""
    return job.noise is None and found.status == "ok" and bool(found.time and found.time.disturbed)


def why(found: Measurement) -> str:
    """A sentence on what disturbed a measurement."""
    reason = found.time.disturbed.reason if found.time and found.time.disturbed else ""
    return f"{found.cell.describe()} was disturbed ({reason}): it is measured again at the end"


def job_again(job: Job) -> Job:
    """The job that measures anew what was disturbed."""
    return Job(timed_alone(job.cell), job.round)


def timed_alone(cell: Cell) -> Cell:
    """The configuration without the measures that other programs do not disturb."""
    return structs.replace(cell, measure=tuple(m for m in cell.measure if m in TIMED))


def settled(first: Measurement, second: Measurement) -> Measurement:
    """The first measurement with what the second has measured anew.

    It stays as it was where the second failed, is of another machine, or was disturbed as well and is slower.
    """
    if second.status != "ok" or second.machine != first.machine or second.time is None or first.time is None:
        return first
    if second.time.disturbed and second.time.step.median >= first.time.step.median:
        return first
    parts = {name: value for name in (*TIMED, "launches") if (value := getattr(second, name)) is not None}
    seconds = (first.seconds or 0.0) + (second.seconds or 0.0)
    return structs.replace(first, seconds=seconds, warnings=second.warnings, **parts)
