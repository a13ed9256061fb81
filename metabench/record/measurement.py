"""What was observed in a cell: one line of `measurements.jsonl`. See docs/method.md for the schema."""

from dataclasses import asdict, dataclass, field
from typing import Any

from metabench.record.reading import SCHEMA
from metabench.record.schema import Status

RARE = ("energy", "launches", "reference", "machine")


@dataclass(frozen=True)
class Measurement:
    """The outcome of one cell in one round. Parts that were not measured are None."""

    id: str
    round: int
    status: Status
    reason: str
    """One sentence where the status is not `ok`."""
    cell: dict[str, Any]
    started: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time of the whole process."""
    data: dict[str, Any] | None = None
    parameters: int | None = None
    library: str = ""
    """Name and version of what did the work, if not torch."""
    gate: dict[str, Any] | None = None
    time: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    phases: dict[str, Any] | None = None
    work: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    energy: dict[str, Any] | None = None
    launches: dict[str, Any] | None = None
    """What a timed meta-iteration asks of a GPU."""
    warnings: list[str] = field(default_factory=list)
    traceback: str = ""
    schema: int = SCHEMA
    reference: dict[str, Any] | None = None
    """`pair` and `side` of a measurement for the noise floor, which counts for no cell."""

    machine: str = ""
    """Label of the machine that measured it; empty where that is not known."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; what most rows do not have is in it only where there is one."""
        row = asdict(self)
        return {name: value for name, value in row.items() if value or name not in RARE}
