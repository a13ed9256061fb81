"""Runs made up for tests that look at more than one."""

import copy
from collections.abc import Iterable
from typing import Any

from metabench.record.reading import Row
from metabench.report.results import Run

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
    return Run(name, "synthetic", tuple(rows), environment(**changes) | {"pairing": pairing}, ())


def faster(row: Row, factor: float) -> Row:
    """The same row with all times multiplied."""
    made = copy.deepcopy(row)
    made["time"]["step"]["samples"] = [factor * sample for sample in row["time"]["step"]["samples"]]
    return made
