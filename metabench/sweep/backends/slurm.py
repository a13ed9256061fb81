"""Slurm, through submitit: an array job whose tasks each hold a node and measure what they are handed, by files.

The run folder must lie on a disk that the nodes share. In `.slurm/` within it each task has a folder: the driver puts
`1.task`, `2.task`, … into it, the node `0.reply` (what it is), `1.reply`, … A task that finds `end` ends.
"""

import os
import shutil
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from metabench.errors import UserError, in_short
from metabench.extras import INSTALL
from metabench.files import read_text, replace_file
from metabench.machine.cores import available_cores
from metabench.record.measurement import Measurement
from metabench.record.reading import LONGEST_LINE
from metabench.sweep.backends.base import BACKENDS, Backend, BackendKind, Work
from metabench.sweep.backends.node import Node, task_of
from metabench.sweep.backends.pool import Lost, Pool, Reply, reply_of, threads_of
from metabench.sweep.jobs import Job

FOLDER = ".slurm"
BEGUN, END = "begun", "end"
LOOK_S = 0.2
"""How often a node looks for its next cell."""
ASK_S = 10.0
"""How often Slurm is asked whether a task still runs; its own database is no faster."""
END_S = 10.0
"""How long to wait, when all is measured, for tasks to end."""
MARGIN_S = 120.0
"""Seconds of a task beyond a cell's limit: submitit is told of its end a minute and a half before."""


@dataclass(frozen=True)
class Options:
    """What `--backend-option` may set."""

    nodes: int = 4
    """Tasks of the array job at the most: so many nodes, or GPUs, measure at once."""
    time: int = 240
    """Minutes of a task; where they end another one is asked for."""
    cpus: int = 0
    """Processors of a task: all of a node, or the share that goes with a GPU."""
    gpus: int = 0
    """GPUs of a task."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Features that nodes must have: name one kind of node, so that all rows are of one machine."""
    executor: str = "slurm"
    """`slurm`, or `local`: submitit's processes on this machine, to try things out without Slurm."""


def serve(folder: Path, threads: int) -> None:
    """What a task runs: answer what is put into its folder, one after the other, until told to end."""
    # Slurm may start a task again that it took away: what it measured is another's by then.
    if BEGUN in os.listdir(folder):  # noqa: PTH208
        return
    replace_file(folder / BEGUN, b"")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit goes on at it, and Slurm then waits half a minute
    node, number = Node(), 0
    replace_file(folder / "0.reply", node.introduce(threads).encode())
    while True:
        names = os.listdir(folder)  # noqa: PTH208 - asks a shared disk anew, where looking for a file may not
        if f"{number + 1}.task" in names:
            number += 1
            answer = node.measure(read_text(folder / f"{number}.task", LONGEST_LINE))
            replace_file(folder / f"{number}.reply", answer.encode())
        elif END in names:
            return
        else:
            time.sleep(LOOK_S)


class _Slot:
    def __init__(self, folder: Path, options: Options) -> None:
        self.folder, self.options, self.number = folder, options, 0
        self.task: Any = None
        self.asked = time.monotonic()
        self.said = 0.0
        """Moment at which the task said what it is."""
        self.busy = True
        """Whether the task is measuring, or has not begun yet: otherwise it ends by itself when told."""

    def fits(self, job: Job) -> bool:
        return job.cell.device == "cpu" or self.options.gpus >= job.cell.world_size

    def lasts(self, seconds: float) -> bool:
        return time.monotonic() + seconds + MARGIN_S < self.said + 60 * self.options.time

    def begin(self, job: Job, work: Work) -> None:
        self.number, self.busy = self.number + 1, True
        replace_file(self.folder / f"{self.number}.task", task_of(job, work).encode())

    def poll(self) -> Reply | None:
        if f"{self.number}.reply" in os.listdir(self.folder):  # noqa: PTH208
            reply = reply_of(read_text(self.folder / f"{self.number}.reply", LONGEST_LINE))
            (self.folder / f"{self.number}.reply").unlink()
            self.said, self.busy = self.said or time.monotonic(), False
            return reply
        now = time.monotonic()
        if now - self.asked < (ASK_S if self.options.executor == "slurm" else LOOK_S):
            return None
        self.asked = now
        if self.task.done(force_check=True):
            # A reply may have come in between, or a shared disk may be late to show it.
            return None if f"{self.number}.reply" in os.listdir(self.folder) else Lost(_ended(self.task))  # noqa: PTH208
        return None


class _Cluster:
    wait_s = 60.0

    def __init__(self, executor: Any, options: Options, work: Work, folder: Path) -> None:
        self.executor, self.options, self.folder = executor, options, folder
        self.threads = threads_of(work)
        self.slots: set[_Slot] = set()
        self.over: list[Any] = []
        self.most, self.count = options.nodes, 0

    def open(self, wanted: int) -> list[_Slot]:
        wanted = min(wanted, self.most - len(self.slots))
        if wanted < 1:
            return []
        slots = []
        for _ in range(wanted):
            self.count += 1
            folder = self.folder / f"task-{self.count}"
            folder.mkdir()
            slots.append(_Slot(folder, self.options))
        try:
            with self.executor.batch():  # one array job
                for slot in slots:
                    slot.task = self.executor.submit(serve, slot.folder, self.threads)
        except Exception as error:  # what sbatch says is in the message of whatever submitit raises
            raise UserError(f"Slurm did not take the job: {error}") from None
        self.slots |= set(slots)
        return slots

    @property
    def spent(self) -> bool:
        return self.most < 1

    def release(self, slot: Any) -> None:
        with suppress(UserError):
            replace_file(slot.folder / END, b"")
        if slot.busy:
            with suppress(Exception):  # it may have ended by itself
                slot.task.cancel(check=False)
        self.slots.discard(slot)
        self.over.append(slot.task)

    def refuse(self, slot: Any) -> None:
        self.most -= 1
        self.release(slot)

    def remove(self) -> None:
        """Remove all files once the tasks have ended, which takes moments; what Slurm is slow to end stays."""
        end = time.monotonic() + END_S
        while not (over := all(task.done(force_check=True) for task in self.over)) and time.monotonic() < end:
            time.sleep(LOOK_S)
        if over:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.parent.rmdir()


class Slurm:
    """Jobs by submitit."""

    name = "slurm"
    remote = True

    def __init__(self, submitit: Any, options: Options) -> None:
        self.submitit, self.options = submitit, options

    @property
    def cores(self) -> int:
        return self.options.cpus or available_cores()

    def measure(self, work: Work) -> Generator[tuple[Job, Measurement]]:
        if 60 * self.options.time < work.settings.time_limit_s + MARGIN_S + 60:
            limit = f"{work.settings.time_limit_s:g} s"
            raise UserError(f"option 'time' of backend slurm is too short for configurations that may take {limit}")
        folder = work.folder.resolve() / FOLDER / uuid4().hex[:8]
        folder.mkdir(parents=True)
        executor = self.submitit.AutoExecutor(folder=folder / "submitit", cluster=self.options.executor)
        executor.update_parameters(**_parameters(self.options, {job.cell.device for job in work.jobs}))
        cluster = _Cluster(executor, self.options, work, folder)
        try:
            yield from Pool(cluster, work).run()
        except KeyboardInterrupt:
            cluster.remove()
            raise
        cluster.remove()  # but where something went wrong: then the logs are of use


def _parameters(options: Options, devices: set[str]) -> dict[str, Any]:
    """The parameters as submitit calls them. Where processors are measured nobody else may be on the node.

    srun is not used: since Slurm 22.05 its steps no longer have the job's processors unless told again.
    """
    given = {
        f"slurm_{name}": getattr(options, name)
        for name in ("partition", "account", "qos", "constraint")
        if getattr(options, name)
    }
    if "cpu" in devices:
        given["slurm_exclusive"] = True
    if options.cpus:
        given["cpus_per_task"] = options.cpus
    if options.gpus:
        given["gpus_per_node"] = options.gpus
    if options.executor == "slurm":
        given["slurm_use_srun"] = False
    return given | {"timeout_min": options.time, "name": "metabench", "tasks_per_node": 1, "nodes": 1}


@contextmanager
def _open(options: Options) -> Iterator[Backend]:
    if options.executor not in ("slurm", "local"):
        raise UserError(f"option 'executor' of backend slurm is slurm or local, not '{options.executor}'")
    if not options.nodes or not options.time:
        raise UserError("options 'nodes' and 'time' of backend slurm are at least 1")
    if options.executor == "slurm" and not options.cpus:
        raise UserError("backend 'slurm' must know how many processors a node has: --backend-option cpus=N")
    try:
        import submitit
    except ImportError:
        raise UserError(f"backend 'slurm' needs submitit: install it with {INSTALL['slurm']}") from None
    if options.executor == "slurm" and shutil.which("sbatch") is None:
        raise UserError("backend 'slurm' finds no sbatch here: run it on a machine that submits jobs")
    yield Slurm(submitit, options)


def _ended(task: Any) -> str:
    """Why a task is over, in a few words."""
    try:
        state = str(task.state).lower()
        error = task.exception()
    except Exception as problem:  # its files may be missing
        return f"its task ended ({in_short(problem)})"
    first = in_short(error) if error else ""
    return f"its task ended ({state}{': ' + first if first else ''})"


BACKENDS.register("slurm")(BackendKind("Slurm, by an array job of submitit", Options, _open))
