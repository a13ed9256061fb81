"""The process of one cell, with arguments JOB RESULT [NUMBER ADDRESS]: see `companions.worker_command`.

Reads a job (JSON), proves the implementation right, measures what is asked for, and writes what it has after every
phase, so that whatever ends the process, the parent knows how far it came. It starts the other processes of its cell,
unless a number says which one it is, and an address where they meet.
"""

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch

from metabench.engines.distributed import Group, Rank
from metabench.engines.refusals import refusal
from metabench.errors import Diverged, Incorrect, Unsupported, UserError
from metabench.machine.limits import lift_limit, ran_out, spare_the_system
from metabench.record.cell import Cell
from metabench.sweep.child import begin, recorder
from metabench.sweep.companions import Companions
from metabench.sweep.measuring import measure_cell
from metabench.sweep.workload import check_processes
from metabench.text import sentence

LONGEST_TRACE = 20_000


def status_of(error: BaseException) -> str:
    """The status that an exception gives to its cell."""
    if isinstance(error, Unsupported):
        return "unsupported"
    if isinstance(error, Incorrect):
        return "incorrect"
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or ran_out(str(error)):
        return "oom"
    return "crashed"


def outcome(error: BaseException, engine: str) -> dict[str, Any]:
    """Status and reason of a cell that an exception ended; with the traceback where nothing is known of it.

    What torch cannot do on an engine is said in words of our own, which name the remedy.
    """
    status = status_of(error)
    if status != "crashed" or isinstance(error, UserError):
        return {"status": status, "reason": _first_line(error), "traceback": ""}
    if why := refusal(error, engine):
        return {"status": "unsupported", "reason": sentence(why), "traceback": _trace(error)}
    return {"status": status, "reason": f"{type(error).__name__}: {_first_line(error)}", "traceback": _trace(error)}


def _first_line(error: BaseException) -> str:
    return sentence((str(error).strip() or "no message").splitlines()[0])


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-LONGEST_TRACE:]


def main() -> None:
    """Entry point of the process."""
    job_file, result_file = Path(sys.argv[1]), Path(sys.argv[2])
    job = begin(job_file)
    cell = Cell.from_json(job["cell"])
    torch.set_num_threads(cell.threads)
    if cell.device == "cpu":
        spare_the_system(cell.world_size)
    # float32 means float32: cuDNN would round convolutions to 10 bits.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.precision == "tf32"
    record = recorder(result_file)

    def give_up(others: Companions) -> None:
        if failed := others.wait_for_failure():
            record(failed)
            os._exit(0)

    try:
        check_processes(cell)
        number, address = sys.argv[3:] or (0, f"file://{result_file}-meeting")
        if cell.world_size > 1 and not sys.argv[3:]:
            others = Companions(job_file, result_file, cell.world_size, address)
            threading.Thread(target=give_up, args=(others,), daemon=True).start()
        rank = Rank(int(number), cell.world_size)
        group = Group(rank, address, torch.device(cell.device)) if cell.world_size > 1 else None
        data_dir, checkpoints = (Path(job[name]) if job.get(name) else None for name in ("data_dir", "checkpoints"))
        measure_cell(cell, job["settings"], data_dir, record, group, checkpoints)
        record({"status": "ok"})
    except Exception as error:
        lift_limit()
        record(outcome(error, cell.engine))
    os._exit(0)  # all is on disk, and torch takes a third of a second to tidy up
