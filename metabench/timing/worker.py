"""The process of one step, with arguments JOB RESULT: loads the step, measures it, and writes what it has found."""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from metabench.errors import Unsupported, UserError
from metabench.machine.limits import lift_limit, ran_out, spare_the_system
from metabench.machine.nvml import unused_gpus
from metabench.sweep.child import begin, recorder
from metabench.text import sentence
from metabench.timing.measuring import Effort, measure_step
from metabench.timing.steps import Step, said_by, step_named


def outcome(error: BaseException, step: Step | None) -> dict[str, Any]:
    """Status and reason of a step that an exception ended."""
    if isinstance(error, Unsupported | UserError):
        return {"status": "unsupported", "reason": str(error)}
    out = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or ran_out(str(error))
    return {"status": "oom" if out else "crashed", "reason": sentence(said_by(error, step))}


def main() -> None:
    """Entry point of the process."""
    job_file, result_file = Path(sys.argv[1]), Path(sys.argv[2])
    job = begin(job_file)
    record = recorder(result_file)
    torch.set_num_threads(job["threads"])
    if job["device"] == "cpu":
        spare_the_system()
    trace = Path(job["trace"]) if job["trace"] else None
    unused = unused_gpus() if job["device"] == "cuda" else {}  # before the step uses CUDA
    effort = Effort(torch.device(job["device"]), job["seconds"], job["whole"], trace, unused)
    step: Step | None = None
    try:
        record({"phase": "loading"})
        step = step_named(job["step"])
        measure_step(effort, step, record)
        record({"status": "ok"})
    except BaseException as error:  # what ends the interpreter, too
        lift_limit()
        record(outcome(error, step))
    os._exit(0)  # all is on disk, and torch takes a third of a second to tidy up
