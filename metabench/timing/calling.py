"""Timing from Python: steps by name in processes of their own, live functions in this one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metabench.errors import UserError
from metabench.machine.conditions import disturbances, observe, warnings_for
from metabench.machine.cores import default_threads
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.machine.threads import torch_threads
from metabench.sources import refuse_while_loading, use
from metabench.timing.collecting import collect
from metabench.timing.measuring import Effort, measure_clock, measure_whole, prepared
from metabench.timing.record import StepRun, run_of
from metabench.timing.result import StepResult, Timings, noise_of
from metabench.timing.running import Plan, check_place, make_folder, trace_file
from metabench.timing.steps import Step, checked, labels, step_named
from metabench.timing.terminal import as_text
from metabench.timing.write import write_timings


@dataclass(frozen=True, repr=False)
class Timed(Timings):
    """What `time` gives: all figures as attributes, and as a table where it is shown or printed."""

    def table(self, full: bool = False) -> str:
        """The summary as text, or all tables."""
        return as_text(self, None, full)

    def __repr__(self) -> str:
        return self.table()


def time(
    *steps: str | Step,
    device: str = "cpu",
    threads: int | None = None,
    rounds: int = 3,
    seconds: float = 2.0,
    time_limit: float = 300.0,
    out: str | Path | None = None,
) -> Timed:
    """Time steps: functions without arguments that do one iteration, or that return such a function.

    A name by path (`"my.py:step"`) is measured in processes of its own, `rounds` of them, as `metabench time` does. A
    live function cannot go to another process: where one is given, all steps are measured in this process, `rounds`
    times in random order, without a time limit, and what a step raises is raised here. Each further step is compared
    with the first. `seconds` are for samples in each round. `out` is a folder for a page, all figures and traces.

    Raises `UserError` for what is no step, a device that is not there, or a number that makes no sense.
    """
    refuse_while_loading("metabench.time")
    use(Path.cwd())
    if not steps:
        raise UserError("name a step to time, or hand over a function")
    check_place(device)
    folder = Path(out) if out is not None else None
    if folder:
        make_folder(folder)
    names = [step for step in steps if isinstance(step, str)]
    if len(names) == len(steps):
        used = default_threads() if threads is None else threads
        plan = Plan(tuple(names), device, used, rounds, seconds, time_limit)
        found = collect(plan, folder, lambda line: None)
        if found.interrupted or found.timings is None:
            raise KeyboardInterrupt
        timings = found.timings
    else:
        timings = _timed_here(steps, device, threads, rounds, seconds, folder)
    if folder:
        write_timings(timings, folder)
    return Timed(**vars(timings))


def _timed_here(
    steps: Sequence[str | Step], device: str, threads: int | None, rounds: int, seconds: float, folder: Path | None
) -> Timings:
    names = _names(steps)
    calls = [step_named(step) if isinstance(step, str) else checked(step) for step in steps]
    used = torch.get_num_threads() if threads is None else threads
    Plan(tuple(names), device, used, rounds, seconds)  # its checks
    with torch_threads(used):
        warnings = warnings_for(used, device == "cuda")
        runs = _runs(names, calls, Effort(torch.device(device), seconds), rounds, folder)
    shown = zip(names, labels(names), strict=True)
    noise, _ = noise_of(list(runs.values()))
    results = tuple(
        StepResult(name, label, tuple(runs[name]), noise, number) for number, (name, label) in enumerate(shown, 1)
    )
    machine = short_name(fingerprint(used))
    return Timings(results, device, used, machine, tuple(warnings), in_process=True)


def _runs(
    names: Sequence[str], calls: Sequence[Step], effort: Effort, rounds: int, folder: Path | None
) -> dict[str, list[StepRun]]:
    """What each repetition found of each step; the first also has memory, parts and operators."""
    found: dict[str, list[dict[str, Any]]] = {
        name: [{"step": name, "round": number, "status": "ok"} for number in range(rounds)] for name in names
    }
    ready = {name: prepared(effort, call, found[name][0].update) for name, call in zip(names, calls, strict=True)}
    order = random.Random(0)
    medians: dict[str, float] = {}
    for number in range(rounds):
        for name in order.sample(names, len(names)):
            before = observe(effort.device.type)
            median = measure_clock(effort, ready[name], found[name][number].update)
            found[name][number]["warnings"] = disturbances(before, observe(), None, torch.get_num_threads())
            medians.setdefault(name, median)
    for place, name in enumerate(names, 1):  # last, since the profiler slows down what comes after it
        traced = Effort(effort.device, effort.seconds, True, trace_file(folder, place) if folder else None)
        measure_whole(traced, ready[name], medians[name], found[name][0].update)
    return {name: [run_of(row | {"phase": ""}) for row in rows] for name, rows in found.items()}


def _names(steps: Sequence[str | Step]) -> list[str]:
    """A name for each step that no other has."""
    names = [step if isinstance(step, str) else _name(step) for step in steps]
    return [name if names.count(name) == 1 else f"{name} {number}" for number, name in enumerate(names, 1)]


def _name(step: object) -> str:
    name = getattr(step, "__name__", type(step).__name__)
    return "lambda" if name == "<lambda>" else str(name)
