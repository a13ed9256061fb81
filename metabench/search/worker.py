"""The process of one trial, with arguments JOB RESULT: it writes what it has found after every phase."""

import os
import sys
from pathlib import Path

import msgspec

from metabench.machine.limits import spare_the_system
from metabench.record.cell import Cell
from metabench.record.searching import Asked
from metabench.search.sampling import Past
from metabench.search.settings import Settings
from metabench.search.training import Pruned, run_trial
from metabench.sweep.child import begin, recorder
from metabench.sweep.proving import configured
from metabench.sweep.worker import outcome

WORKER = "metabench.search.worker"


def main() -> None:
    """Entry point of the process."""
    job = begin(Path(sys.argv[1]))
    record = recorder(Path(sys.argv[2]))
    cell, asked = Cell.from_json(job["cell"]), msgspec.convert(job["asked"], Asked)
    if cell.device == "cpu":
        spare_the_system(cell.world_size)
    try:
        past = msgspec.convert(job["past"], list[Past])
        pruning = Settings(asked).sampler.pruning(past, job["parameters"])
        with configured(cell):
            run_trial(cell, asked, pruning, Path(job["data_dir"]) if job["data_dir"] else None, record)
        record({"status": "ok"})
    except Pruned as ended:
        record({"status": "pruned", "reason": str(ended)})
    except Exception as error:
        record(outcome(error, cell.engine))
    os._exit(0)  # all is on disk, and torch takes a third of a second to tidy up
