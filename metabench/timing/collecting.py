"""Runs of processes put together, and what the machine did meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metabench.errors import UserError
from metabench.machine.conditions import warnings_for
from metabench.machine.fingerprint import fingerprint, short_name
from metabench.timing.record import StepRun
from metabench.timing.result import StepResult, Timings, noise_of
from metabench.timing.running import Plan, Turn, measured
from metabench.timing.steps import labels

LOADING = "loading"
"""The phase of a process in which it looks for the step."""


@dataclass(frozen=True)
class Collected:
    """What there is at the end, or when the user had seen enough."""

    timings: Timings | None
    """All that was measured; None where nothing was."""
    interrupted: bool
    done: int
    """Processes that have ended."""


def collect(plan: Plan, out: Path | None, tell: Callable[[str], object]) -> Collected:
    """Run the processes of a plan; Ctrl-C ends them, and keeps what is there. `out` is as in `measured`.

    Raises `UserError` where no step can be found.
    """
    found: list[tuple[Turn, StepRun]] = []
    warnings = warnings_for(plan.threads, plan.device == "cuda")
    interrupted = True
    try:
        for turn, run in measured(plan, out, tell):
            found.append((turn, run))
        interrupted = False
    except KeyboardInterrupt:
        pass
    missing = [run.reason for _, run in found if run.status == "unsupported" and run.phase == LOADING]
    if missing and len(missing) == len(found):
        raise UserError(missing[0])
    return Collected(timings_of(plan, found, warnings) if found else None, interrupted, len(found))


def timings_of(plan: Plan, found: Sequence[tuple[Turn, StepRun]], warnings: Sequence[str] = ()) -> Timings:
    """The steps of a plan, as far as they were measured."""

    def runs(step: str) -> list[StepRun]:
        """Runs of a step, and one of its twin that did not end well: both do the same work."""
        here = (run for turn, run in found if turn.step == step and not (turn.twin and run.status == "ok"))
        return sorted(here, key=lambda run: run.round)

    every = [runs(step) for step in plan.steps]
    noise, pairs = noise_of(every, [run for turn, run in found if turn.twin])
    planned = zip(plan.steps, labels(list(plan.steps)), every, strict=True)
    steps = tuple(
        StepResult(name, label, tuple(own), noise, number)
        for number, (name, label, own) in enumerate(planned, 1)
        if own
    )
    machine = short_name(fingerprint(plan.threads))
    return Timings(steps, plan.device, plan.threads, machine, (*warnings, *_instead(plan, steps)), pairs)


def _instead(plan: Plan, steps: Sequence[StepResult]) -> list[str]:
    """Say that another step is the baseline, where an interruption left the first one out."""
    if len(steps) < 2 or steps[0].name == plan.steps[0]:
        return []
    return [f"{plan.steps[0]} was not measured: the other steps are compared with {steps[0].label}"]
