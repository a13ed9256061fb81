"""A Chrome trace of torch's profiler as data: phases, operators in each other, memory, kernels. Pure functions."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from metabench.measure.launches import DEVICE
from metabench.statistics.intervals import Interval, median_interval

RANGE = "phase: "
"""What the name of a phase's range begins with."""
OUTSIDE = "outside of phases"


@dataclass(frozen=True)
class Span:
    """Something that took time, in seconds from the start of the iteration."""

    name: str
    start: float
    seconds: float

    @property
    def end(self) -> float:
        """The moment at which it was over."""
        return self.start + self.seconds


@dataclass(frozen=True)
class Operator:
    """A call of an operator."""

    span: Span
    stack: tuple[str, ...]
    """Names from the outside in: the phase, the operators that this one is called in, and its own name."""
    own: float
    """Seconds that it did not spend in operators it called."""
    leaf: bool
    """Whether it called no other one."""

    @property
    def computes(self) -> bool:
        """Whether it is of torch's tensor library and calls no other: what does the work, views among them."""
        return self.leaf and "::" in self.span.name and not self.span.name.startswith("autograd::")


@dataclass(frozen=True)
class Allocation:
    """`bytes` > 0 was given out, or < 0 taken back, at a moment."""

    moment: float
    address: int
    bytes: int


@dataclass(frozen=True)
class Trace:
    """One meta-iteration. Its phases follow each other without a gap."""

    phases: tuple[Span, ...]
    operators: tuple[Operator, ...]
    allocations: tuple[Allocation, ...]
    kernels: tuple[Span, ...]
    """Kernels that a GPU carried out."""
    annotations: tuple[Span, ...] = ()
    """Ranges that torch or the user named, such as `Optimizer.step#SGD.step`."""

    @property
    def seconds(self) -> float:
        """Seconds from the start of the first phase to the end of the last, the profiler's own work included."""
        return self.phases[-1].end

    def phase_at(self, moment: float) -> str:
        """The phase of a moment."""
        return phase_at(self.phases, moment)


def phase_at(phases: Sequence[Span], moment: float) -> str:
    """The phase of a moment; those of an iteration are in order."""
    index = bisect_right(phases, moment, key=lambda span: span.start) - 1
    inside = index >= 0 and (moment <= phases[index].end or index + 1 < len(phases))
    return phases[index].name if inside else OUTSIDE


@dataclass
class _Open:
    """An operator on the stack of calls."""

    span: Span
    stack: tuple[str, ...]
    inside: float = 0.0
    children: int = field(default=0)


def parse(text: str) -> Trace:
    """Raises ValueError for a trace that has no phases in it."""
    events = [event for event in json.loads(text)["traceEvents"] if isinstance(event, dict) and "ts" in event]
    ranges = [e for e in events if e.get("ph") == "X" and str(e.get("name", "")).startswith(RANGE)]
    ranges = [e for e in ranges if e.get("cat") != "gpu_user_annotation"]
    if not ranges:
        raise ValueError("the profiler's trace has no phases")
    begin = min(e["ts"] for e in ranges)

    def span(event: dict[str, Any], name: str) -> Span:
        return Span(name, (event["ts"] - begin) * 1e-6, event.get("dur", 0) * 1e-6)

    phases = tuple(sorted((span(e, e["name"].removeprefix(RANGE)) for e in ranges), key=lambda s: s.start))
    end = phases[-1].end
    calls: dict[Any, list[Span]] = {}
    for event in events:
        if event.get("cat") == "cpu_op" and not str(event["name"]).startswith(RANGE):
            made = span(event, str(event["name"]))
            if 0 <= made.start <= end:
                calls.setdefault(event.get("tid"), []).append(made)
    operators = [operator for spans in calls.values() for operator in _nested(spans, phases)]
    memory = [e for e in events if e.get("name") == "[memory]"]
    allocations = [
        Allocation((e["ts"] - begin) * 1e-6, int(e["args"]["Addr"]), int(e["args"]["Bytes"])) for e in memory
    ]
    allocations = [a for a in allocations if 0 <= a.moment <= end]
    kernels = [span(e, str(e["name"])) for e in events if e.get("cat") in DEVICE]
    named = [span(e, str(e["name"])) for e in events if e.get("cat") == "user_annotation" and e not in ranges]
    return Trace(
        phases,
        tuple(sorted(operators, key=lambda o: o.span.start)),
        tuple(sorted(allocations, key=lambda a: a.moment)),
        tuple(sorted((k for k in kernels if k.start >= 0), key=lambda k: k.start)),
        tuple(sorted((a for a in named if 0 <= a.start <= end), key=lambda a: a.start)),
    )


def _nested(spans: Iterable[Span], phases: Sequence[Span]) -> Iterable[Operator]:
    """The calls of one thread, each with what it was called in."""
    stack: list[_Open] = []

    def closed() -> Operator:
        last = stack.pop()
        return Operator(last.span, last.stack, max(0.0, last.span.seconds - last.inside), last.children == 0)

    for span in sorted(spans, key=lambda s: (s.start, -s.seconds)):
        while stack and stack[-1].span.end <= span.start:
            yield closed()
        if stack:
            stack[-1].inside += span.seconds
            stack[-1].children += 1
        above = stack[-1].stack if stack else (phase_at(phases, span.start),)
        stack.append(_Open(span, (*above, span.name)))
    while stack:
        yield closed()


def folded(trace: Trace) -> dict[tuple[str, ...], float]:
    """Seconds by stack, from the phase down to the operator; what no operator took is the phase's own."""
    found: dict[tuple[str, ...], float] = {}
    for phase in trace.phases:
        found[(phase.name,)] = found.get((phase.name,), 0.0) + phase.seconds
    for operator in trace.operators:
        found[operator.stack] = found.get(operator.stack, 0.0) + operator.own
        if operator.stack[:1] in found:
            found[operator.stack[:1]] -= operator.own
    return {stack: max(0.0, seconds) for stack, seconds in found.items()}


def folded_text(stacks: dict[tuple[str, ...], float]) -> str:
    """Text in the format of flamegraph.pl and speedscope: a stack and its microseconds in a line."""
    lines = [f"{';'.join(part.replace(';', ',') for part in stack)} {1e6 * s:.0f}" for stack, s in stacks.items()]
    return "\n".join(sorted(lines)) + "\n"


@dataclass(frozen=True)
class OperatorKind:
    """All calls of one operator in an iteration."""

    name: str
    calls: int
    own: float
    """Seconds, without operators that it called."""


def by_name(operators: Iterable[Operator]) -> dict[str, OperatorKind]:
    """The operators of one iteration."""
    found: dict[str, OperatorKind] = {}
    for operator in operators:
        kind = found.get(operator.span.name, OperatorKind(operator.span.name, 0, 0.0))
        found[kind.name] = OperatorKind(kind.name, kind.calls + 1, kind.own + operator.own)
    return found


@dataclass(frozen=True)
class OperatorTime:
    """All calls of one operator in a typical iteration: medians over several that were recorded."""

    name: str
    calls: int
    own: Interval
    """Seconds, without operators that it called."""


def over_iterations(found: Sequence[Mapping[str, OperatorKind]]) -> list[OperatorTime]:
    """The operators of several iterations with medians over them, those that take longest first.

    A slice of the processor that another program took stands in one operator of one iteration: the median has no part
    of it.
    """
    times = []
    for name in dict.fromkeys(name for one in found for name in one):
        kinds = [one.get(name, OperatorKind(name, 0, 0.0)) for one in found]
        own = sorted(kind.own for kind in kinds)
        times.append(
            OperatorTime(
                name, round(median(kind.calls for kind in kinds)), Interval(median(own), *median_interval(own))
            )
        )
    return sorted(times, key=lambda each: -each.own.value)


@dataclass(frozen=True)
class Level:
    """How many bytes were live from a moment on, above those of the start, and in which phase that was."""

    moment: float
    bytes: int
    phase: str


def levels(trace: Trace) -> list[Level]:
    """Live bytes at the start of each phase, and after each allocation and release of the iteration's own tensors."""
    live: dict[int, int] = {}
    total = 0
    found = []
    moments = [(phase.start, 0, None) for phase in trace.phases] + [(a.moment, 1, a) for a in trace.allocations]
    for moment, _, event in sorted(moments, key=lambda entry: entry[:2]):
        if event and event.bytes > 0:
            live[event.address] = event.bytes
            total += event.bytes
        elif event:  # of what was there before the iteration nothing is known, and nothing counted
            total -= live.pop(event.address, 0)
        found.append(Level(moment, total, trace.phase_at(moment)))
    return found


def gaps(kernels: Sequence[Span]) -> list[float]:
    """Seconds between the end of one kernel and the start of the next in which the GPU had nothing to do."""
    found, reached = [], kernels[0].end if kernels else 0.0
    for kernel in kernels[1:]:
        if kernel.start > reached:
            found.append(kernel.start - reached)
        reached = max(reached, kernel.end)
    return found
