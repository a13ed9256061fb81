"""Cells of several processes that torchrun starts, on one machine or on many: `torchrun … -m metabench run …`.

Process 0 runs the sweep. The others wait for its cells of as many processes as torchrun has started, and take part in
each by a worker of their own: there, too, a cell is a fresh process.
"""

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch.distributed.rendezvous import rendezvous

from metabench.errors import UserError
from metabench.machine.cores import available_cores
from metabench.record.measurement import STATUSES, Measurement
from metabench.sources import variables
from metabench.sweep.backends.base import BACKENDS, Backend, BackendKind, Work
from metabench.sweep.companions import worker_command
from metabench.sweep.jobs import Job, observed
from metabench.sweep.process import job_of, worker_environment

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
POLL_S = 0.05
PATIENCE_S = 5.0
"""Seconds in which other processes must say what came of a cell, after process 0 knows, or must leave."""


@dataclass(frozen=True)
class Options:
    """No options: torchrun has them all."""


class Torchrun:
    """Process 0 of those that torchrun has started."""

    name = "torchrun"
    remote = False

    def __init__(self, store: Any, size: int) -> None:
        self.store, self.size = store, size
        self.count = 0
        """Number of the cells that were begun together."""

    @property
    def cores(self) -> int:
        return available_cores()

    def measure(self, work: Work) -> Generator[tuple[Job, Measurement]]:
        """Measure the jobs one after the other."""
        for job in work.jobs:
            if work.stop.is_set():
                raise KeyboardInterrupt
            work.progress.began(job)
            yield job, work.failures.skip(job, work.here) or self._measured(job, work)

    def _measured(self, job: Job, work: Work) -> Measurement:
        wanted = job.cell.world_size
        if wanted == 1:
            return observed(job, work.settings, work.data_dir, checkpoints=work.checkpoints)
        if wanted != self.size:
            return job.without("unsupported", f"{wanted} processes, where torchrun has started {self.size}")
        number, self.count = self.count, self.count + 1
        address = f"tcp://{os.environ['MASTER_ADDR']}:{_free_port()}"
        task = {
            "job": job_of(job.cell, work.settings, work.data_dir, work.checkpoints),
            "variables": variables(),
            "address": address,
        }
        self.store.set(f"cell {number}", json.dumps(task))
        try:
            found = observed(job, work.settings, work.data_dir, meeting=address, checkpoints=work.checkpoints)
        finally:
            self.store.set(f"done {number}", "")
        return found if found.status != "crashed" else self._blamed(found, number)

    def _blamed(self, found: Measurement, number: int) -> Measurement:
        """The measurement, with the status and reason of another process if that is what failed."""
        for rank in range(1, self.size):
            if _wait(self.store, f"outcome {number} {rank}", PATIENCE_S):
                status, reason = json.loads(self.store.get(f"outcome {number} {rank}"))
                if status != "ok" and status in STATUSES and "Connection" not in reason:
                    return replace(found, status=status, reason=f"process {rank}: {reason}", traceback="")
        return found

    def close(self) -> None:
        """Let the other processes leave."""
        self.store.set(f"cell {self.count}", "")
        for rank in range(1, self.size):
            _wait(self.store, f"left {rank}", PATIENCE_S)


def follow(store: Any, rank: int) -> None:
    """Take part in each cell that process 0 begins, until it says that there are no more."""
    number = 0
    while _wait(store, f"cell {number}") and (text := store.get(f"cell {number}")):
        task = json.loads(text)
        store.set(f"outcome {number} {rank}", json.dumps(_take_part(store, rank, number, task)))
        number += 1
    store.set(f"left {rank}", "")


def _take_part(store: Any, rank: int, number: int, task: dict[str, Any]) -> tuple[str, str]:
    """Status and reason of this process's worker."""
    with tempfile.TemporaryDirectory(prefix="metabench-") as name:
        job, result = Path(name) / "job.json", Path(name) / "result.json"
        job.write_text(json.dumps(task["job"]), encoding="utf-8")
        process = subprocess.Popen(
            worker_command(job, result, rank, task["address"]),
            stdin=subprocess.PIPE,  # which closes when this process ends, and so ends the worker
            env={**worker_environment(task["job"]["cell"]["threads"]), **task["variables"]},
        )
        ends = float("inf")
        while process.poll() is None and time.monotonic() < ends:
            time.sleep(POLL_S)
            if ends == float("inf") and store.check([f"done {number}"]):
                ends = time.monotonic() + PATIENCE_S
        if process.poll() is None:
            process.kill()
            process.wait()
        with suppress(OSError, ValueError):
            found = json.loads(result.read_text(encoding="utf-8"))
            if process.returncode == 0:
                return found["status"], found["reason"]
        return "crashed", f"ended with exit code {process.returncode}"


def _wait(store: Any, key: str, seconds: float = float("inf")) -> bool:
    """Whether the key is there, at the latest after so long."""
    end = time.monotonic() + seconds
    while not store.check([key]):
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _open(options: Options) -> Iterator[Backend]:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise UserError(
            "backend 'torchrun' is for processes that torchrun has started: "
            "torchrun --nproc-per-node 2 -m metabench run SWEEP --backend torchrun --out FOLDER"
        )
    store, rank, size = next(rendezvous("env://"))
    if rank > 0:
        follow(store, rank)
        raise SystemExit(0)  # the run is process 0's
    backend = Torchrun(store, size)
    try:
        yield backend
    finally:
        backend.close()


BACKENDS.register("torchrun")(
    BackendKind("processes that torchrun has started, for one configuration after the other", Options, _open)
)
