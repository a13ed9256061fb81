"""One step in one process: its first call, its time, and in one repetition also its memory and what it is made of."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from metabench.errors import Unsupported
from metabench.measure.clock import Budget, measure_time, time_once
from metabench.measure.energy import measure_energy
from metabench.measure.kineto import StartedTwice
from metabench.measure.launches import covered, measure_launches
from metabench.measure.marks import Marks, clock_for
from metabench.measure.memory import measure_memory
from metabench.measure.phases import PhaseBudget, measure_phases
from metabench.profile.recording import Recording, recorded
from metabench.profile.trace import Trace
from metabench.record.measurement import Launches
from metabench.record.timing import MIN_SAMPLES, Mean
from metabench.sweep.child import Record
from metabench.timing.phases import WATCHED
from metabench.timing.record import Clocked, Marked, OperatorSeen, Recorded
from metabench.timing.steps import Ready, Step, after_first_call

REST = "not marked"
"""The part of a step that stands outside of all marks."""
PARTS = ("backward passes", "optimizer", "other operators", "outside of operators")
BACKWARD, OPTIMIZER, OTHER, OUTSIDE = PARTS
BACKWARD_CALL, OPTIMIZER_CALL = "autograd::engine::evaluate_function", "Optimizer."
"""What the names of autograd's calls, and of the ranges of torch.optim, begin with."""
SHARE_OF_PHASES = 0.25
"""Share of the seconds for samples that is given to marked parts, and as much to the recording."""
RECORDED = MIN_SAMPLES
"""How many calls are recorded at least, where they are not long: fewer give no intervals."""
LONG_CALLS = 10.0
"""The longest call that is recorded, in times of the seconds for samples: under the profiler it takes longer."""
ENERGY_WITHIN_S = 1.0
"""The longest call whose energy is measured: three seconds hold some of them."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    device: torch.device
    seconds: float = 2.0
    """Seconds for samples of the time."""
    whole: bool = True
    """Whether memory, parts, operators and energy are measured, too: once in all repetitions is enough."""
    trace: Path | None = None
    """The file for the Chrome trace of a call."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """What `unused_gpus` gave before this process used CUDA."""


def prepared(effort: Effort, call: Step, record: Record) -> Step:
    """Call what the user named once, or twice if that made the step, and give what is to be timed."""
    record({"phase": "first call"})
    found: list[object] = []

    def first() -> None:
        found.append(call())

    took = time_once(first, effort.device)
    ready: Ready = after_first_call(call, found.pop())
    if ready.made:
        record({"made": True, "set_up_s": took})
        took = time_once(ready.step, effort.device)
    record({"first_call_s": took})
    if effort.device.type == "cpu" and torch.cuda.max_memory_allocated():  # 0 where CUDA was not used
        raise Unsupported(
            "the step puts tensors on a GPU, whose work a processor's clock does not see: use device cuda"
        )
    return ready.step


def measure_clock(effort: Effort, step: Step, record: Record) -> float:
    """Time the step; gives the median of a call."""
    record({"phase": "timing"})
    budget = Budget(seconds=effort.seconds, word="--seconds")
    timing = measure_time(step, effort.device, budget)
    record({"time": Clocked(timing.summary, timing.noisy, timing.note, timing.processor_share, timing.others)})
    return timing.summary.median


def measure_whole(effort: Effort, step: Step, seconds: float, record: Record) -> None:
    """Memory, parts, operators, energy and launches of a step that takes so many seconds a call."""
    device = effort.device
    record({"phase": "memory"})
    record({"memory": measure_memory(step, device, unused=effort.unused)})
    if seconds <= LONG_CALLS * effort.seconds:
        record({"phase": "parts"})
        record({"marked": _marked(effort, step, seconds)})
        record({"phase": "recording"})
        with suppress(StartedTwice):  # the memory's method says so
            record({"recorded": _recorded(effort, step, seconds)})
    if seconds <= ENERGY_WITHIN_S:
        record({"phase": "energy"})
        record({"energy": measure_energy(step, clock_for(device).wait, device)})
    if device.type == "cuda":  # last, since the profiler slows down what comes after it
        record({"phase": "launches"})
        record({"launches": _launches(device, step, seconds)})


def measure_step(effort: Effort, call: Step, record: Record) -> None:
    """All of it, part by part. Raises what the user's code raises, and `Unsupported`, `UserError`."""
    step = prepared(effort, call, record)
    seconds = measure_clock(effort, step, record)
    if effort.whole:
        measure_whole(effort, step, seconds, record)


@contextmanager
def watched(marks: Marks) -> Iterator[None]:
    """Have the marks of a step noted meanwhile."""
    token = WATCHED.set(marks)
    try:
        yield
    finally:
        WATCHED.reset(token)


def _with_marks(step: Step, marks: Marks) -> Step:
    def marked() -> None:
        marks.begin(REST)
        with watched(marks):
            step()
        marks.end()

    return marked


def _marked(effort: Effort, step: Step, seconds: float) -> Marked | None:
    """The time of marked parts; None for a step that marks none."""
    clock = clock_for(effort.device)
    marks = Marks(clock.stamp)
    marked = _with_marks(step, marks)
    marked()
    if marks.counts().keys() == {REST}:
        return None
    budget = PhaseBudget(SHARE_OF_PHASES * effort.seconds, _few(seconds, effort, MIN_SAMPLES))
    found = measure_phases(step, marked, None, marks, clock, budget)
    return Marked(found.seconds, found.ratio)


def _few(seconds: float, effort: Effort, least: int) -> int:
    """How many calls are made at least: fewer of those that take long."""
    return max(1, min(least, math.floor(effort.seconds / seconds)))


def _recorded(effort: Effort, step: Step, seconds: float) -> Recorded:
    def run(marks: Marks) -> Callable[[], object]:
        return _with_marks(step, marks)

    found = recorded(run, effort.device, SHARE_OF_PHASES * effort.seconds, _few(seconds, effort, RECORDED))
    if effort.trace:
        effort.trace.write_text(found.text, encoding="utf-8")
    return recorded_of(found)


def recorded_of(found: Recording) -> Recorded:
    """The figures of a recording."""
    n = found.seconds.n
    operators = [
        OperatorSeen(each.name, each.calls, Mean(each.own.value, each.own.low, each.own.high, n))
        for each in found.operators
    ]
    leaves = sum(operator.computes for operator in found.trace.operators)
    return Recorded(found.seconds, parts(found.trace), operators, leaves)


def parts(trace: Trace) -> dict[str, float]:
    """Seconds of the parts that can be told without the step's help; those that it does not have are left out.

    Autograd names what it calls in a backward pass, and torch.optim its updates. Operators beside these are the forward
    pass and whatever else the step computes.
    """
    backward = [o.span for o in trace.operators if o.span.name.startswith(BACKWARD_CALL)]
    optimizer = [span for span in trace.annotations if span.name.startswith(OPTIMIZER_CALL)]
    every = [o.span for o in trace.operators]
    in_optimizer = covered(optimizer)
    with_backward = covered([*optimizer, *backward])
    in_all = covered([*optimizer, *backward, *every])
    found = {
        BACKWARD: with_backward - in_optimizer,
        OPTIMIZER: in_optimizer,
        OTHER: in_all - with_backward,
        OUTSIDE: max(0.0, trace.seconds - in_all),
    }
    return {name: seconds for name, seconds in found.items() if seconds > 0}


def _launches(device: torch.device, step: Step, seconds: float) -> Launches:
    found = measure_launches(lambda: (step, clock_for(device).wait), seconds)
    share = None if found.busy_s is None else min(1.0, found.busy_s / seconds)
    return Launches(found.launches, found.kernels, found.busy_s, found.note, share)
