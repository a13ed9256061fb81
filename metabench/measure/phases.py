"""What the phases of a meta-iteration take: iterations with marks and without, in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from metabench.measure.clock import no_garbage_collection
from metabench.measure.marks import SAMPLING, Clock, Marks
from metabench.record.timing import MIN_SAMPLES, PHASES, Mean, Summary
from metabench.statistics.intervals import CONFIDENCE, RESAMPLES, summarise


@dataclass(frozen=True)
class Phases:
    """What the phases took, in seconds, and what a meta-iteration took without marks in the same minutes."""

    step: Summary
    """Time of a meta-iteration without marks and without sampling."""
    seconds: dict[str, Mean]
    """Means by phase, in the order of `PHASES`; sampling is no part of the meta-iteration."""

    ratio: Summary
    """Ratio of the iterations with marks to those without, in pairs run one after the other: what marks cost."""

    @property
    def total(self) -> float:
        """The sum of the phases, without sampling."""
        return sum(figure.value for phase, figure in self.seconds.items() if phase != SAMPLING)

    @property
    def deviation(self) -> float:
        """Difference of the sum of the phases from the meta-iteration without marks, as a share of the latter."""
        return self.total / self.step.median - 1


@dataclass(frozen=True)
class PhaseBudget:
    """How long to go on: that many seconds, and at least so many iterations with marks and as many without."""

    seconds: float = 0.5
    least: int = MIN_SAMPLES
    most: int = 400


BRIEF = PhaseBudget()


def measure_phases(
    plain: Callable[[], object],
    marked: Callable[[], object],
    sample: Callable[[], object] | None,
    marks: Marks,
    clock: Clock,
    budget: PhaseBudget = BRIEF,
) -> Phases:
    """Iterations without marks and with them in turn, so that a machine that changes its pace meets both alike.

    `marked` calls `begin` and `end` of `marks`; `sample` draws tasks, where there are any. The garbage collector is off
    meanwhile. The median ratio of both tells what marks cost. An equal share for each mark is taken off the phase that
    it falls into.
    """
    steps: list[float] = []
    found: list[dict[str, float]] = []
    # Each of the two is first in every other round: what the first leaves in the caches, the second finds.
    with no_garbage_collection():
        for call in (plain, marked):  # compiles, allocates, warms up
            call()
        clock.wait()
        deadline = time.perf_counter() + budget.seconds
        while len(steps) < budget.least or (time.perf_counter() < deadline and len(steps) < budget.most):
            drawn = _timed(sample, clock) if sample else {}
            for which in ((0, 1), (1, 0))[len(steps) % 2]:
                if which:
                    marked()
                    clock.wait()
                    found.append(marks.seconds(clock) | drawn)
                else:
                    begin = clock.stamp("")
                    plain()
                    end = clock.stamp("")
                    clock.wait()
                    steps.append(clock.seconds(begin, end))
    totals = [sum(value for phase, value in one.items() if phase != SAMPLING) for one in found]
    ratios = [total / step for total, step in zip(totals, steps, strict=True)]
    return Phases(summarise(steps), phase_figures(without_marks(found, marks.counts(), ratios)), summarise(ratios))


def _timed(sample: Callable[[], object], clock: Clock) -> dict[str, float]:
    start = clock.stamp("")
    sample()
    end = clock.stamp("")
    clock.wait()
    return {SAMPLING: clock.seconds(start, end)}


def without_marks(
    found: Sequence[Mapping[str, float]], counts: Mapping[str, int], ratios: Sequence[float]
) -> list[dict[str, float]]:
    """The phases of iterations with so many marks, less what marks cost: iterations take so many times as long."""
    share = max(0.0, 1 - 1 / median(ratios)) / max(1, sum(counts.values()))

    def less(one: Mapping[str, float]) -> dict[str, float]:
        cost = share * sum(value for phase, value in one.items() if phase != SAMPLING)
        return {phase: max(0.0, value - cost * counts.get(phase, 0)) for phase, value in one.items()}

    return [less(one) for one in found]


def phase_figures(found: Sequence[Mapping[str, float]]) -> dict[str, Mean]:
    """The phases of a typical iteration, `PHASES` in their order and others as they come.

    They are means over the middle fifth of the iterations, by their total: it is next to the median, and adds up.

    Medians of single phases would not add up: where another program takes a slice of the processor now and then, it
    hits one phase of an iteration, and each phase's median misses it. The intervals are of 95 %, by bootstrap.
    """
    seen = dict.fromkeys(phase for one in found for phase in one)
    names = [*(phase for phase in PHASES if phase in seen), *(phase for phase in seen if phase not in PHASES)]
    times = np.array([[one.get(phase, 0.0) for phase in names] for one in found])
    inside = np.array([phase != SAMPLING for phase in names])
    value = _middle(times, inside)
    draws = np.random.default_rng(0).integers(len(times), size=(RESAMPLES, len(times)))
    low, high = np.quantile(
        [_middle(times[draw], inside) for draw in draws], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0
    )
    bounds = zip(names, value, np.minimum(low, value), np.maximum(high, value), strict=True)
    return {name: Mean(float(v), float(a), float(b), len(times)) for name, v, a, b in bounds}


def _middle(times: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(iterations, phases) -> (phases,)"""
    ordered = np.argsort(times[:, inside].sum(1), kind="stable")
    cut = 2 * len(times) // 5
    middle: np.ndarray = times[ordered[cut : len(times) - cut]].mean(0)
    return middle
