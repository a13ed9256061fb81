"""What one process has found of one step, typed. Times are in seconds, sizes in bytes."""

from typing import Any

import msgspec

from metabench.record.measurement import Energy, Launches, Memory, Status
from metabench.record.timing import Mean, Record, Summary


class Clocked(Record, frozen=True):
    """What the clock saw."""

    call: Summary
    """Time of a call."""
    noisy: bool
    note: str
    """One sentence where the figure is doubtful, else empty."""
    processor_share: float | None = None
    """Processor seconds that the process used in each second."""
    others_cores: float | None = None
    """Cores that other programs kept busy meanwhile."""


class Marked(Record, frozen=True):
    """Time of the parts that the step marks by `phase`, without the profiler."""

    seconds: dict[str, Mean]
    ratio: Summary
    """Ratio of calls with the clock at each mark to those without, in pairs."""


class OperatorSeen(Record, frozen=True):
    """All calls of an operator in one call of the step."""

    name: str
    calls: int
    self_s: Mean
    """Seconds without operators that it called, under the profiler."""


class Recorded(Record, frozen=True):
    """What torch's profiler saw."""

    call: Summary
    """Time of a call under the profiler."""
    parts: dict[str, float]
    """Seconds by part of the shortest recorded call: what is known of a step without its help."""
    operators: list[OperatorSeen]
    leaf_calls: int
    """Calls of operators that call no other one."""


class StepRun(Record, frozen=True, kw_only=True):
    """The outcome of one step in one repetition. Parts that were not measured are None."""

    step: str
    """The name, as it was given."""
    round: int
    status: Status
    reason: str = ""
    phase: str = ""
    """Phase in which it ended, where the status is not `ok`."""
    warnings: list[str] = []
    seconds: float | None = None
    """Wall time of the whole process."""
    made: bool = False
    """Whether what is timed was returned by the first call."""
    set_up_s: float | None = None
    """Time of the call that made the step."""
    first_call_s: float | None = None
    time: Clocked | None = None
    memory: Memory | None = None
    marked: Marked | None = None
    recorded: Recorded | None = None
    launches: Launches | None = None
    energy: Energy | None = None
    sources: dict[str, str] = {}
    """SHA-256 of each file of the user's own that was loaded."""


def run_of(row: dict[str, Any]) -> StepRun:
    """The record of plain data. Raises ValueError for what is none."""
    return msgspec.convert(row, StepRun)
