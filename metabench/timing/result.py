"""What was found of all steps: times, ratios to the first one, and the noise of processes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from metabench.report.advice import PROCESSES
from metabench.report.bundles import Peak
from metabench.statistics.intervals import Interval
from metabench.statistics.ratios import Ratio, ratio_interval, time_interval
from metabench.statistics.spread import ROUNDS_TO_TELL, Spread, spread_of_pairs
from metabench.timing.record import StepRun

Samples: TypeAlias = Mapping[int, Sequence[float]]
FEWEST_PAIRS = 2
REPORT = "report.html"
"""The page in the folder of timings."""
PEAKS = (
    ("cuda_allocated_bytes", "allocated"),
    ("tracked_bytes", "tensors"),
    ("resident_bytes", "resident"),
)
"""Measures of memory, the one that says most first, with its word."""


@dataclass(frozen=True)
class StepResult:
    """One step over all repetitions."""

    name: str
    """The name as it was given; of a live function its own."""
    label: str
    """A short name that tells it from the other steps."""
    runs: tuple[StepRun, ...]
    noise: Spread | None = None
    """How one process differs from another, where that is known."""
    number: int = 1
    """Place of the step among those that were asked for; the first is 1."""

    @property
    def failed(self) -> StepRun | None:
        """The run that did not end well, if there is one."""
        return next((run for run in self.runs if run.status != "ok"), None)

    @property
    def status(self) -> str:
        """`ok`, or the status of the run that did not end well."""
        return self.failed.status if self.failed else "ok"

    @property
    def samples(self) -> Samples:
        """Seconds a call, by repetition."""
        return {run.round: run.time.call.samples for run in self.runs if run.time}

    @cached_property
    def interval(self) -> Interval | None:
        """Seconds a call with their 95 % interval; None where nothing was timed."""
        return time_interval(self.samples, self.noise)

    @property
    def seconds(self) -> float:
        """Seconds a call; infinite where nothing was timed."""
        return self.interval.value if self.interval else math.inf

    @property
    def noisy(self) -> bool:
        """Whether a repetition was noisy, or the interval of all of them is wide."""
        return any(run.time.noisy for run in self.runs if run.time) or bool(self.interval and self.interval.noisy)

    @property
    def made(self) -> bool:
        """Whether what is timed was returned by the first call."""
        return any(run.made for run in self.runs)

    @property
    def whole(self) -> StepRun:
        """The run that has most parts."""
        return max(self.runs, key=lambda run: sum(getattr(run, part) is not None for part in run.__struct_fields__))

    @property
    def peak(self) -> Peak | None:
        """The peak memory of a call, with what it is of."""
        memory = self.whole.memory
        found = ((getattr(memory, field), word) for field, word in PEAKS) if memory else ()
        return next((Peak(size, word) for size, word in found if size is not None), None)


@dataclass(frozen=True)
class Timings:
    """All steps; the first is the baseline of ratios."""

    steps: tuple[StepResult, ...]
    device: str
    threads: int
    machine: str
    warnings: tuple[str, ...] = ()
    pairs: int = 0
    """Pairs of processes with the same work, from which the noise was learnt."""
    in_process: bool = False
    """Whether all repetitions were measured in the one process that asked."""

    def __iter__(self) -> Iterator[StepResult]:
        return iter(self.steps)

    def __getitem__(self, label: str) -> StepResult:
        for step in self.steps:
            if label in (step.label, step.name):
                return step
        raise KeyError(f"no step is called {label!r}: there are {', '.join(step.label for step in self.steps)}")

    @property
    def baseline(self) -> StepResult:
        """The first step."""
        return self.steps[0]

    @property
    def noise(self) -> Spread | None:
        """How one process differs from another, where that is known."""
        return self.baseline.noise

    @property
    def seconds(self) -> float:
        """Seconds a call of the first step."""
        return self.baseline.seconds

    @property
    def interval(self) -> Interval | None:
        """Seconds a call of the first step, with their 95 % interval."""
        return self.baseline.interval

    @property
    def peak(self) -> Peak | None:
        """The peak memory of a call of the first step."""
        return self.baseline.peak

    def times_as_fast(self, step: StepResult) -> Ratio | None:
        """How many times as fast as the baseline a step is, paired within repetitions."""
        return ratio_interval(self.baseline.samples, step.samples, noise=self.noise)


def noise_of(steps: Sequence[Sequence[StepRun]], twins: Sequence[StepRun] = ()) -> tuple[Spread | None, int]:
    """How processes differ, from the runs of all steps and those of the baseline's twin, and from how many pairs.

    The first step is the baseline. Without pairs, and with too few repetitions of any step, nothing says it: then two
    processes are taken to differ by up to a tenth.
    """

    def medians(runs: Sequence[StepRun]) -> dict[int, float]:
        return {run.round: run.time.call.median for run in runs if run.time}

    timed, second = [medians(runs) for runs in steps], medians(twins)
    first = timed[0]
    logs = [(math.log(first[number]), math.log(second[number])) for number in sorted(first.keys() & second.keys())]
    if len(logs) >= FEWEST_PAIRS:
        return spread_of_pairs(logs), len(logs)
    return (PROCESSES if min(map(len, filter(None, timed)), default=0) < ROUNDS_TO_TELL else None), 0


def differs(ratio: Ratio | None) -> bool:
    """Whether a difference can be told."""
    return ratio is not None and ratio.known and ratio.differs
