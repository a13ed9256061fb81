"""Steps in processes of their own: each repetition has one for each step, in random order, with pairs for the noise."""

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from metabench.errors import UserError, unknown
from metabench.files import writing
from metabench.machine.conditions import disturbances, observe
from metabench.machine.devices import check_device
from metabench.record.reading import MEASUREMENTS
from metabench.sweep.process import Ended, run_job, worker_environment
from metabench.sweep.servers import Servers
from metabench.timing.record import StepRun, run_of

WORKER = "metabench.timing.worker"
DEVICES = ("cpu", "cuda")
TRACES = "traces"
"""The folder of Chrome traces within that of timings."""


def trace_file(folder: Path, number: int) -> Path:
    """The trace of the step of that number; the first is 1."""
    return folder / TRACES / f"{number}.json"


def make_folder(folder: Path) -> None:
    """Make the folder with room for traces, before anything is measured. Raises `UserError`, also for that of a run.

    What was timed there before is replaced.
    """
    if (folder / MEASUREMENTS).exists():
        raise UserError(f"'{folder}' holds the run of a sweep: choose another folder")
    with writing(folder):
        (folder / TRACES).mkdir(parents=True, exist_ok=True)


def check_place(device: str) -> None:
    """Raise `UserError` for a device that is not known, or not there."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    check_device({device})


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    steps: tuple[str, ...]
    """Names by path; the first is the baseline."""
    device: str = "cpu"
    threads: int = 1
    rounds: int = 3
    seconds: float = 2.0
    """Seconds for samples, in each process."""
    time_limit_s: float = 300.0
    """The longest that a process may take."""

    def __post_init__(self) -> None:
        if len(set(self.steps)) < len(self.steps):
            raise UserError(f"a step is named twice: {next(s for s in self.steps if self.steps.count(s) > 1)}")
        for what, value, least, most in (
            ("rounds", self.rounds, 1, 100),
            ("threads", self.threads, 1, 4096),
            ("seconds", self.seconds, 0.01, 3600),
            ("time limit", self.time_limit_s, 1, 86400),
        ):
            if not least <= value <= most:
                raise UserError(f"{what} takes a number from {least} to {most}, and {value:g} was given")


@dataclass(frozen=True)
class Turn:
    """A process that is to be run."""

    step: str
    round: int
    twin: bool = False
    """Whether it times the baseline once more, to learn how two processes with the same work differ."""


def turns(plan: Plan) -> list[Turn]:
    """All processes in their order: random within a repetition, so that no step is always the first.

    Where steps are compared over several repetitions, the baseline stands in each of them twice.
    """
    order = random.Random(0)
    found = []
    for number in range(plan.rounds):
        here = [Turn(step, number) for step in plan.steps]
        here += [Turn(plan.steps[0], number, twin=True)] if min(len(plan.steps), plan.rounds) > 1 else []
        order.shuffle(here)
        found += here
    return found


def measured(plan: Plan, out: Path | None, tell: Callable[[str], object]) -> Iterator[tuple[Turn, StepRun]]:
    """Run all processes. A step that failed is not tried again. `tell` gets a sentence on what begins.

    `out` has a folder for Chrome traces. Raises `UserError` where no process can be started.
    """
    every = turns(plan)
    failed: set[str] = set()
    with Servers() as servers:
        for number, turn in enumerate(every, 1):
            if turn.step in failed:
                continue
            tell(f"[{number}/{len(every)}] {turn.step}")
            run = _run(plan, turn, out, servers)
            if run.status != "ok":
                failed.add(turn.step)
            yield turn, run


def _run(plan: Plan, turn: Turn, out: Path | None, servers: Servers) -> StepRun:
    whole = turn.round == 0 and not turn.twin
    trace = trace_file(out, plan.steps.index(turn.step) + 1) if out and whole else None
    job = {"step": turn.step, "device": plan.device, "threads": plan.threads, "seconds": plan.seconds}
    job |= {"whole": whole, "trace": str(trace.absolute()) if trace else None}
    lend = servers.of(turn.round) if plan.device == "cpu" and sys.platform == "linux" else None
    before, begin = observe(plan.device), perf_counter()
    ended = run_job(job, worker_environment(plan.threads), plan.time_limit_s, lend, worker=WORKER)
    seconds = perf_counter() - begin
    return msgspec.structs.replace(
        run_from(ended, turn, plan.time_limit_s),
        seconds=seconds,
        warnings=disturbances(before, observe(), None, plan.threads),
    )


def run_from(ended: Ended, turn: Turn, limit: float) -> StepRun:
    """The record of a process, however it ended."""
    status, reason = ended.outcome(limit)
    row: dict[str, Any] = {**ended.result, "step": turn.step, "round": turn.round, "status": status, "reason": reason}
    row["phase"] = "" if status == "ok" else ended.result.get("phase", "start")
    return run_of(row)
