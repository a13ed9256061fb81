"""What a node of a cluster does: it says what it is, and measures one cell after another. All it is told is JSON."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from msgspec import to_builtins

from metabench.errors import UserError
from metabench.machine.fingerprint import fingerprint
from metabench.record.cell import Cell
from metabench.sources import variables
from metabench.sweep.backends.base import Work
from metabench.sweep.jobs import Job, observed, unobserved
from metabench.sweep.spec import Settings

OURS = "METABENCH_"


def task_of(job: Job, work: Work) -> str:
    """What a node must know to measure a cell; it takes over our own variables of the environment."""
    task: dict[str, Any] = {
        "cell": job.cell.to_json(),
        "round": job.round,
        "settings": asdict(work.settings),
        "data_dir": str(work.data_dir.resolve()) if work.data_dir else None,
        "checkpoints": str(work.checkpoints.resolve()),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(OURS)} | variables(),
    }
    return json.dumps(task)


class Node:
    """Lives in a process of its own on the node, and does one thing at a time."""

    def introduce(self, threads: int) -> str:
        """The node's fingerprint."""
        return json.dumps({"fingerprint": to_builtins(fingerprint(threads))})

    def measure(self, text: str) -> str:
        """What came of a cell: a row, or why there is none."""
        task = json.loads(text)
        os.environ.update(task["variables"])
        data_dir = Path(task["data_dir"]) if task["data_dir"] else None
        job, settings = Job(Cell.from_json(task["cell"]), task["round"]), Settings(**task["settings"])
        folder = Path(task["checkpoints"])
        checkpoints = folder if folder.parent.is_dir() else None  # a node may have no disk in common with the driver
        try:
            found = (
                unobserved(job, settings, data_dir, Event(), checkpoints=checkpoints)
                if job.trains_alone
                else observed(job, settings, data_dir, checkpoints=checkpoints)
            )
        except UserError as error:
            return json.dumps({"error": str(error)})
        return json.dumps({"row": found.to_json()}, allow_nan=False)
