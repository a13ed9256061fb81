"""Timings in words: what the steps cost against each other, and what a reader must know before believing it."""

from metabench.record.measurement import HAPPENED
from metabench.report.answer.phrases import inverse
from metabench.report.noise import two_differ_by
from metabench.report.numbers import bytes_text, duration_text, time_text, trim, with_interval
from metabench.statistics.disturbance import SLOWED, slowed
from metabench.statistics.ratios import Ratio
from metabench.statistics.spread import ROUNDS_TO_TELL
from metabench.text import counted
from metabench.timing.measuring import OUTSIDE
from metabench.timing.result import StepResult, Timings, differs

SAME_MEMORY = 0.01
"""Peaks that differ by a smaller share are called the same."""
MANY = 2.0
"""The factor from which on a difference of memory is told as a factor."""
UNAVAILABLE = "unavailable ("
"""What the method of a figure that could not be had begins with."""


def sentences(timings: Timings) -> list[str]:
    """The answer: each step against the first, and last the fastest; of a single step its figures."""
    if len(timings.steps) == 1:
        return [figures(timings.baseline)]
    others = [step for step in timings.steps[1:] if step.interval]
    said = [against(timings, step) for step in sorted(others, key=lambda step: -step.seconds)]
    return [*said, fastest(timings)] if len(timings.steps) > 2 else said


def figures(step: StepResult) -> str:
    """The time, the rate and the memory of a step, and where its time goes."""
    if not step.interval:
        return f"{failure(step)}."
    memory = f"{bytes_text(step.peak.bytes)} of memory" if step.peak else ""
    return f"{step.label}: {', '.join(filter(None, [f'{time_text(step.interval)} a call', most(step), memory]))}."


def most(step: StepResult) -> str:
    """The part that takes most of the time, as far as it can be told; empty if none does."""
    recorded = step.whole.recorded
    whole = sum(recorded.parts.values()) if recorded else 0.0
    if not recorded or not whole:
        return ""
    name = max(recorded.parts, key=lambda part: recorded.parts[part])
    if recorded.parts[name] * 2 <= whole:
        return ""
    return f"{100 * recorded.parts[name] / whole:.0f} % of it {name if name == OUTSIDE else f'in {name}'}"


def against(timings: Timings, step: StepResult) -> str:
    """A step against the baseline, in one sentence."""
    ratio = timings.times_as_fast(step)
    base = timings.baseline.label
    if ratio is None:
        return f"{step.label}: cannot be compared, since {base} was not timed."
    memory = memory_against(step, timings.baseline)
    if not differs(ratio):
        said = f"cannot be told apart from {base} ({with_interval(ratio)} times as fast)"
    elif ratio.value > 1:
        said = f"{with_interval(ratio)} times as fast as {base}"
    else:
        said = f"takes {with_interval(inverse(ratio))} times as long as {base}"
    return f"{step.label}: {', '.join(filter(None, [said, memory]))}."


def memory_against(step: StepResult, base: StepResult) -> str:
    """The peak memory of a step against that of another, in words; empty where they cannot be compared."""
    if not (step.peak and base.peak) or step.peak.method != base.peak.method:
        return ""
    if step.peak.bytes == base.peak.bytes == 0:
        return "the same memory"
    if not (step.peak.bytes and base.peak.bytes):
        return f"{bytes_text(step.peak.bytes)} of memory against {bytes_text(base.peak.bytes)}"
    factor = step.peak.bytes / base.peak.bytes
    if abs(factor - 1) <= SAME_MEMORY:
        return "the same memory"
    if factor >= MANY:
        return f"{trim(factor, 0, 0)} times the memory"
    return f"{100 * abs(factor - 1):.0f} % {'less' if factor < 1 else 'more'} memory"


def fastest(timings: Timings) -> str:
    """The fastest of several steps, and those that cannot be told apart from it."""
    timed = sorted((step for step in timings.steps if step.interval), key=lambda step: step.seconds)
    if not timed:
        return "No step could be timed."
    best, *others = timed
    pairs = {step.label: _between(timings, step, best) for step in others}
    tied = [label for label, ratio in pairs.items() if not differs(ratio)]
    ratio = timings.times_as_fast(best)
    more = (
        f", {with_interval(ratio)} times as fast as {timings.baseline.label}"
        if best is not timings.baseline and ratio
        else ""
    )
    same = f"; {', '.join(tied)} cannot be told apart from it" if tied else ""
    return f"Fastest: {best.label}{more}{same}."


def _between(timings: Timings, step: StepResult, best: StepResult) -> Ratio | None:
    return Timings((step, best), timings.device, timings.threads, timings.machine).times_as_fast(best)


def failure(step: StepResult) -> str:
    """Why a step has no figures, or lacks some."""
    run = step.failed
    return f"{step.label} {HAPPENED[run.status]}: {run.reason}" if run else f"{step.label} was not measured"


def noise_text(timings: Timings) -> str:
    """How far two processes with the same work differ, and how that is known; empty where nothing was timed."""
    if not any(step.interval for step in timings.steps):
        return ""
    if timings.in_process:
        intervals = (
            f"intervals allow for {two_differ_by(timings.noise)}" if timings.noise else "no interval includes it"
        )
        return f"All repetitions are of this one process: how processes differ is not known, and {intervals}."
    if timings.noise is None:
        return "" if len(timings.steps) == 1 else "The noise floor is not known: the first step was not timed twice."
    apart = two_differ_by(timings.noise)
    if not timings.pairs:
        return f"Fewer than {ROUNDS_TO_TELL} repetitions do not say how processes differ: intervals allow for {apart}."
    pairs = counted(timings.pairs, "pair")
    return (
        f"Noise floor: two processes that time {timings.baseline.label} differ by up to {apart} (95 %, from {pairs}); "
        "every interval includes it."
    )


def doubts(timings: Timings) -> list[str]:
    """What a reader must know before believing the figures, each thing once."""
    found = list(timings.warnings)
    for step in timings.steps:
        if step.failed and (step.interval or len(timings.steps) > 1):  # of one step without figures, the answer says it
            kept = "; what was measured before is shown" if step.interval else ""
            found.append(f"{failure(step)}{kept}")
        noted = [run.time for run in step.runs if run.time and run.time.note]
        if noted:  # of several that say the like, the worst
            worst = max(noted, key=lambda time: time.call.relative_width)
            found.append(f"{step.label}: {worst.note}")
        if any(slowed(run.time.call.samples) >= SLOWED for run in step.runs if run.time):
            found.append(
                f"{step.label}: half of the samples took {SLOWED:g} times as long as the fastest, or longer: other "
                "programs disturbed it, or its calls do different work"
            )
        memory = step.whole.memory
        if memory and (memory.tracked_method or "").startswith(UNAVAILABLE):
            found.append(f"{step.label}: the memory of its tensors is {memory.tracked_method}")
        meanwhile = dict.fromkeys(w for r in step.runs if r.time for w in r.warnings)
        found += [f"while {step.label} was timed, {one}" for one in meanwhile]
    return list(dict.fromkeys(found))


def processor_text(step: StepResult) -> str:
    """Processor seconds in each second of the step: below 1 it waits, above 1 several threads work."""
    shares = [run.time.processor_share for run in step.runs if run.time and run.time.processor_share is not None]
    return f"{sum(shares) / len(shares):.2f} cores" if shares else ""


def first_call_text(step: StepResult) -> str:
    """The first call of a process, which includes what is done once."""
    first = [run.first_call_s for run in step.runs if run.first_call_s is not None]
    return duration_text(sorted(first)[len(first) // 2]) if first else ""
