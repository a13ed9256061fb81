"""Timings as tables: the steps beside each other, where their time goes, and their operators."""

import math

from metabench.profile.trust import share_text, told_share, told_time
from metabench.record.timing import MIN_SAMPLES, Mean
from metabench.report.numbers import NOTHING, bytes_text, duration_text, time_text, with_interval
from metabench.report.render.tables import Table
from metabench.report.sections.base import Column, table_of
from metabench.report.sections.device import DeviceWork, busy_text, energy_text, launches_text
from metabench.statistics.ratios import Interval
from metabench.text import counted
from metabench.timing.measuring import PARTS, REST
from metabench.timing.result import StepResult, Timings
from metabench.timing.words import first_call_text, noise_text, processor_text

MOST_OPERATORS = 15
METHODS = {
    "allocated": "what CUDA tensors held, those from before the call included",
    "tensors": "live bytes of tensors, above those from before the call",
    "resident": "the whole process, above what it held before; its tensors alone are not known",
}
"""What a peak is of, by its word."""


def title(timings: Timings) -> str:
    """What was measured, and where."""
    names = ", ".join(step.label for step in timings.steps)
    return f"Time of {names} on {timings.device}, {counted(timings.threads, 'thread')}: {timings.machine}"


def times_table(timings: Timings) -> Table:
    """The steps beside each other."""
    base = timings.baseline
    several = len(timings.steps) > 1

    def ratio(step: StepResult) -> str:
        if step is base:
            return "1"
        found = timings.times_as_fast(step)
        return with_interval(found) if found else NOTHING

    columns: list[Column[StepResult] | None] = [
        Column("step", lambda step: step.label),
        Column("status", lambda step: step.status) if any(step.failed for step in timings.steps) else None,
        Column("a call", _time_text, droppable=True),
        Column(f"times as fast as {base.label}", ratio) if several and base.interval else None,
        Column("peak memory", _peak_text, droppable=True),
        Column("launches", lambda step: launches_text(work_of(step)), droppable=True),
        Column("GPU busy", lambda step: busy_text(work_of(step)), droppable=True),
        Column("energy", _energy_text, droppable=True),
        Column("processor", lambda step: processor_text(step) or NOTHING, droppable=True),
        Column("first call", lambda step: first_call_text(step) or NOTHING, droppable=True),
    ]
    says = f"Time and peak memory of one call, with 95 % intervals over {_how_often(timings)}."
    words = {step.peak.method for step in timings.steps if step.peak}
    notes = [f"Peak memory, {word}: {METHODS[word]}." for word in METHODS if word in words]
    notes += [f"{step.label}: what is timed is what its first call returned." for step in timings.steps if step.made]
    notes += [noise] if (noise := noise_text(timings)) else []
    return table_of(title(timings), says, [c for c in columns if c], timings.steps, notes=notes, marks={})


def _how_often(timings: Timings) -> str:
    rounds = max(len(step.runs) for step in timings.steps)
    return counted(rounds, "repetition") + (
        " in this process" if timings.in_process else ", each in a process of its own"
    )


def _time_text(step: StepResult) -> str:
    if not step.interval:
        return NOTHING
    return time_text(step.interval) + (" (noisy)" if step.noisy else "")


def _peak_text(step: StepResult) -> str:
    return f"{bytes_text(step.peak.bytes)} {step.peak.method}" if step.peak else NOTHING


def _energy_text(step: StepResult) -> str:
    energy = step.whole.energy
    return energy_text(energy.joules if energy else None)


def work_of(step: StepResult) -> DeviceWork | None:
    """What a call asks of the GPU."""
    found = step.whole.launches
    if found is None or found.launches is None:
        return None
    return DeviceWork(found.launches, found.kernels, found.busy_share)


def parts_table(timings: Timings) -> Table | None:
    """Where the time goes, as far as it can be told without the steps' help; None where nothing was recorded."""
    shown = [step for step in timings.steps if step.whole.recorded]
    names = [name for name in PARTS if any(name in _parts(step) for step in shown)]
    if not names:
        return None
    rows = tuple((name, *(_share_of(_parts(step), name) for step in shown)) for name in names)
    says = (
        "Shares of one call under torch's profiler, which makes calls of operators longer: autograd's backward passes, "
        "updates by torch.optim, all other operators (the forward pass and whatever else is computed), and Python "
        "outside of operators."
    )
    if timings.device == "cuda":
        says += " They are of the host's time, which launches the work of the GPU."
    return Table("Where the time goes", says, ("part", *(step.label for step in shown)), rows)


def _parts(step: StepResult) -> dict[str, float]:
    return step.whole.recorded.parts if step.whole.recorded else {}


def _share_of(parts: dict[str, float], name: str) -> str:
    return share_text(parts[name], sum(parts.values())) if name in parts else NOTHING


def marked_table(step: StepResult) -> Table | None:
    """The parts that a step marks; None for one that marks none."""
    marked = step.whole.marked
    if not marked:
        return None
    total = sum(mean.value for mean in marked.seconds.values())
    own = {name: _interval(mean) for name, mean in marked.seconds.items()}
    names = [*(name for name in own if name != REST), *(name for name in own if name == REST)]
    rows = tuple((name, told_time(own[name]), told_share(own[name], total)) for name in names)
    says = "Time of the parts that the step marks by `phase`, without the profiler, with 95 % intervals."
    return Table(f"{step.label}: marked parts", says, ("part", "time", "share"), rows)


def _interval(mean: Mean) -> Interval:
    """A mean with its interval, which is not known from few samples."""
    few = mean.n is not None and mean.n < MIN_SAMPLES
    return Interval(mean.value, 0.0, math.inf) if few else Interval(mean.value, mean.low, mean.high)


def operators_table(step: StepResult, most: int = MOST_OPERATORS) -> Table | None:
    """The operators that take longest; None where none was seen."""
    recorded = step.whole.recorded
    if not recorded or not recorded.operators:
        return None
    whole = sum(each.self_s.value for each in recorded.operators)
    rows = tuple(
        (
            each.name,
            str(each.calls),
            told_time(own := _interval(each.self_s)),
            told_share(own, whole),
        )
        for each in recorded.operators[:most]
    )
    says = (
        f"Self time of each operator in one call under the profiler: medians over {recorded.call.n} recorded calls, "
        f"with 95 % intervals. A recorded call takes {duration_text(recorded.call.median)}, and calls "
        f"{recorded.leaf_calls:,} operators that call no other one."
    )
    left = len(recorded.operators) - len(rows)
    notes = (f"{left} more operators are in timings.json.",) if left > 0 else ()
    return Table(f"{step.label}: operators", says, ("operator", "calls", "self time", "share"), rows, notes)
