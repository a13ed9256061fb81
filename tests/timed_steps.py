"""Runs of steps with times that were chosen, as processes would give them."""

from metabench.record.measurement import Memory
from metabench.statistics.intervals import summarise
from metabench.timing.record import Clocked, StepRun
from metabench.timing.result import StepResult, Timings


def run(name, number, seconds, peak=None, **more):
    """A repetition whose samples lie within a thousandth of `seconds`."""
    samples = [seconds * (1 + 1e-3 * (i % 5 - 2) / 2) for i in range(20)]
    memory = None if peak is None else Memory(tracked_bytes=peak, tracked_method="allocator events")
    clocked = Clocked(summarise(samples), False, "", 1.0)
    return StepRun(**{"step": name, "round": number, "status": "ok", "time": clocked, "memory": memory} | more)


def step(name, times, peak=None, noise=None):
    """A step with a repetition for each of the times."""
    return StepResult(name, name, tuple(run(name, i, t, peak) for i, t in enumerate(times)), noise)


def timings(*steps, pairs=3, **more):
    return Timings(steps, "cpu", 1, "a machine", pairs=pairs, **more)
