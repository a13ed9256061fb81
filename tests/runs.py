"""Runs made up for tests that look at more than one."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import to_builtins

from metabench.record.cell import Cell
from metabench.record.environment import Environment
from metabench.record.measurement import Measurement
from metabench.record.reading import measurement_of, typed
from metabench.record.timing import Adaptation, Disturbance, DoubleBackward, Mean, Phases, StepTime, Timed
from metabench.report.results import Run
from metabench.statistics.intervals import summarise

Row = dict[str, Any]

MACHINE = {
    "processor": {"name": "Test CPU", "usable_cores": 2},
    "memory": {"total_bytes": 8 * 2**30},
    "gpus": [],
    "threads": 2,
    "packages": {"torch": "2.13", "numpy": "2.0"},
    "environment": {"OMP_NUM_THREADS": "2"},
    "python": {"version": "3.11"},
    "metabench": {"commit": "a" * 40, "dirty": False},
}


def environment(**changes: Any) -> dict[str, Any]:
    """Of a run on the test machine, but for the changes."""
    return {"sweep": {"name": "synthetic"}, "machine": {**MACHINE, **changes}}


def run(rows: Iterable[Row], name: str = "run", pairing: str | None = None, **changes: Any) -> Run:
    """A run of those rows on the test machine, but for the changes."""
    described = typed(environment(**changes) | {"pairing": pairing}, Environment)
    return Run(name, "synthetic", tuple(records(rows)), described, ())


def made(cell: Cell, number: int = 0, status: str = "ok", reason: str = "", **parts: Any) -> Measurement:
    """A measurement of the cell, with parts as plain dictionaries or as records."""
    row = {"schema": 1, "id": cell.id, "round": number, "status": status, "reason": reason, "cell": cell.to_json()}
    return measurement_of(row | {"started": "2026-01-01T00:00:00Z", "seconds": 1.0} | to_builtins(parts))


def records(rows: Iterable[Row | Measurement]) -> list[Measurement]:
    """The rows as measurements."""
    return [row if isinstance(row, Measurement) else measurement_of(row) for row in rows]


def faster(row: Row, factor: float) -> Row:
    """The same row with all times multiplied."""
    made = copy.deepcopy(row)
    made["time"]["step"]["samples"] = [factor * sample for sample in row["time"]["step"]["samples"]]
    return made


def timed_apart(
    row: Row, backward: float = 0.0, task: Sequence[float] = (), derivatives: Sequence[float] = (), disturbed: str = ""
) -> Row:
    """The row with what is timed apart from its iterations, where that is given, in seconds.

    `task` is what a held-out task takes, its adaptation and its predictions; `derivatives` those of a network, once and
    twice. `disturbed` is the reason for which they are marked so.
    """

    def part(seconds: float) -> Timed:
        why = Disturbance(disturbed) if disturbed else None
        return Timed(summarise([seconds * factor for factor in (0.99, 1.0, 1.01) * 3]), disturbed=why)

    made = copy.deepcopy(row)
    if backward:
        phases = {"query": Mean(1.0, 1.0, 1.0), "outer backward": Mean(backward, 0.9 * backward, 1.1 * backward)}
        made["phases"] = to_builtins(Phases(StepTime(2.0, 1.9, 2.1), phases))
    if task:
        made["adaptation"] = to_builtins(Adaptation(*map(part, task), steps=row["cell"]["eval_steps"]))
    if derivatives:
        made["double_backward"] = to_builtins(DoubleBackward(*map(part, derivatives), examples=60))
    return made
