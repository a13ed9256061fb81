"""What changed in the times of two runs: means over rounds, their ratios with intervals, tests, verdicts."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from statistics import fmean, median
from typing import Literal, TypeAlias

from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement, Repetition
from metabench.report.bundles import sound_rows
from metabench.report.noise import NoiseFloor, noise_floor
from metabench.statistics.intervals import Interval
from metabench.statistics.means import FEWEST, Estimate, mean, shift_apart, shift_in_pairs
from metabench.statistics.ranks import LEVEL, adjusted, can_tell, fewest_rounds, p_of_pairs, p_of_sets
from metabench.text import counted

TimeVerdict: TypeAlias = Literal["slower", "faster", "the same", "cannot tell"]
Test: TypeAlias = Literal["ranks", "means"]
Levels: TypeAlias = Mapping[Repetition, float]
"""The logarithm of what a process took, by its run and round: the mean where several of a round have the same cost."""
Pair: TypeAlias = tuple[Levels, Levels]
"""The levels of one cost in the base and in the new run."""
LARGEST_LOG = 300.0
"""Half the width of an interval, in logarithms, beyond which it says nothing."""
SAME = 1.05
"""Times whose ratio lies within this factor, with its whole interval, are called the same."""
FASTEST = 0.1
"""The share of a process's samples that its time is taken from: other programs can only make a sample slower."""
FEW_BEYOND = 1.25
"""What takes the noise floor's place for a test of means, in runs that have not measured one."""


@dataclass(frozen=True)
class TimeChange:
    """A time in both runs and the ratio of the new one to the base, which is their quotient."""

    base: Interval
    """Geometric mean over the rounds that enter the ratio, in seconds."""
    new: Interval
    ratio: Interval
    rounds: int
    """The fewer of the two runs'."""
    p: float | None
    """Corrected for the number of cells; None with too few rounds for any test."""
    test: Test | None
    """Whether ranks decided, or Student's test of the means."""
    verdict: TimeVerdict


@dataclass(frozen=True)
class GroupChange:
    """The geometric mean of the ratios of all cells of an algorithm, or of an engine."""

    kind: Literal["algorithm", "engine"]
    name: str
    cells: int
    rounds: int
    value: float
    interval: Interval | None
    """None with too few rounds to have one."""


@dataclass(frozen=True)
class _Sides:
    """The levels of a time by round, of those rounds that enter the ratio: in pairs of the same place, or apart."""

    before: list[float]
    after: list[float]
    paired: bool

    @property
    def rounds(self) -> int:
        return min(len(self.before), len(self.after))

    @cached_property
    def shift(self) -> Estimate:
        return (shift_in_pairs if self.paired else shift_apart)(self.before, self.after)

    def test(self, cells: int) -> Test | None:
        """What decides among so many cells: ranks where they can tell one difference, else the means."""
        if not self.shift.freedom:
            return None
        return "ranks" if can_tell(len(self.before), len(self.after), cells, self.paired) else "means"

    def p(self, test: Test | None) -> float | None:
        """The chance of such a difference where there is none, before any correction."""
        if test != "ranks":
            return self.shift.p
        if self.paired:
            return p_of_pairs([b - a for a, b in zip(self.before, self.after, strict=True)])
        return p_of_sets(self.before, self.after)


def fastest(samples: Sequence[float]) -> list[float]:
    """The fastest tenth of a process's samples, at least one."""
    return sorted(samples)[: max(1, math.ceil(FASTEST * len(samples)))]


def level(samples: Sequence[float]) -> float:
    """The logarithm of what a process took, in seconds: of the median of its fastest samples."""
    return math.log(median(fastest(samples)))


def levels(rows: Sequence[Measurement]) -> Levels:
    """The levels of all rounds whose times may be shown, in their order."""
    timed = [
        (row.repetition, level(row.time.step.samples)) for row in sound_rows(rows) if row.time and row.time.step.samples
    ]
    by_round = grouped(sorted(timed), itemgetter(0))
    return {number: fmean(found for _, found in same) for number, same in by_round.items()}


def floor_of(noise_rows: Sequence[Measurement]) -> NoiseFloor | None:
    """The noise floor of the figure that is compared here: it takes the median's place in each noise row."""
    return noise_floor(noise_rows, lambda time: math.exp(level(time.step.samples)))


def time_changes(pairs: Mapping[str, Pair], paired: bool, floor: NoiseFloor | None) -> dict[str, TimeChange]:
    """The change of every time, by its key, that both runs have; `paired`: each round in both, back to back.

    The test is chosen after it is known how many cells are looked at, so that one that cannot survive the correction
    is never taken.
    """
    found = {name: sides for name, pair in pairs.items() if (sides := _sides([pair], paired))}
    cells = sum(1 for sides in found.values() if sides.shift.freedom)
    tests = [sides.test(cells) for sides in found.values()]
    chances = [sides.p(test) for sides, test in zip(found.values(), tests, strict=True)]
    changes = zip(found.items(), tests, adjusted(chances), strict=True)
    return {name: _change(sides, test, p, floor) for (name, sides), test, p in changes}


def _sides(pairs: Sequence[Pair], paired: bool) -> _Sides | None:
    """The mean of several cells in each round that has all of them; in pairs, that has them on both sides."""
    both = list(zip(*pairs, strict=True))
    rounds = [set.intersection(*(set(cell) for cell in side)) for side in both]
    if paired:
        rounds = [rounds[0] & rounds[1]] * 2
    sides = zip(both, rounds, strict=True)
    before, after = ([fmean(cell[number] for cell in side) for number in sorted(own)] for side, own in sides)
    return _Sides(before, after, paired) if before and after else None


def _change(sides: _Sides, test: Test | None, p: float | None, floor: NoiseFloor | None) -> TimeChange:
    noise = _noise(sides, floor)
    ratio = _interval(sides.shift, noise)
    # The floor is of two processes: one alone differs from its mean by √2 less.
    base, new = (_interval(mean(side), noise / math.sqrt(2)) for side in (sides.before, sides.after))
    beyond = floor.ratio if floor else FEW_BEYOND
    return TimeChange(base, new, ratio, sides.rounds, p, test, time_verdict(ratio, p, test, beyond))


def _noise(sides: _Sides, floor: NoiseFloor | None, cells: int = 1) -> float:
    """The logarithm of the factor by which two equal configurations differ, in the mean over so many cells.

    Rounds in runs measured apart do not average it out.
    """
    if floor is None:
        return 0.0
    return math.log(floor.over(sides.rounds * cells) if sides.paired else floor.ratio)


def _interval(found: Estimate, noise: float) -> Interval:
    """The factor whose logarithm was found. Its interval is never narrower than the noise."""
    half = max(found.half, noise) if math.isfinite(found.half) else noise or math.inf
    value = math.exp(found.value)
    if half > LARGEST_LOG:
        return Interval(value, 0.0, math.inf)
    return Interval(value, value * math.exp(-half), value * math.exp(half))


def time_verdict(ratio: Interval, p: float | None, test: Test | None, beyond: float) -> TimeVerdict:
    """The verdict on a ratio of times: one of ranks needs an interval without 1, one of means an interval that lies
    wholly beyond the factor `beyond`, the noise floor of two processes, either way."""
    least = beyond if test == "means" else 1.0
    if p is not None and p <= LEVEL and (ratio.low > least or ratio.high < 1 / least):
        return "slower" if ratio.value > 1 else "faster"
    alike = test is not None and ratio.low >= 1 / SAME and ratio.high <= SAME
    return "the same" if alike else "cannot tell"


def too_few_rounds(rounds: int, cells: int, paired: bool) -> str:
    """A sentence on what so many rounds of so many cells cannot tell; empty where they are enough for ranks."""
    if can_tell(rounds, rounds, cells, paired):
        return ""
    enough = f"from {fewest_rounds(cells, paired)} repetitions on, a test by ranks calls what shows in every repetition"
    many = counted(cells, "configuration")
    if rounds < FEWEST:
        return f"{counted(rounds, 'repetition')} of {many} can call no difference of time; {enough}"
    return (
        f"{rounds} repetitions are too few for a test by ranks of {many}: a difference is called only "
        f"where Student's test finds it and its whole interval lies beyond the noise floor; {enough}"
    )


def group_changes(pairs: Iterable[tuple[Cell, Pair]], paired: bool, floor: NoiseFloor | None) -> Iterator[GroupChange]:
    """The geometric mean per algorithm and per engine, over the rounds in which all its cells were timed."""
    timed = [(cell, pair) for cell, pair in pairs if _sides([pair], paired)]
    kinds: tuple[Literal["algorithm", "engine"], ...] = ("algorithm", "engine")
    for kind in kinds:
        for name in sorted({str(cell[kind]) for cell, _ in timed}):
            mine = [pair for cell, pair in timed if cell[kind] == name]
            if sides := _sides(mine, paired):
                ratio = _interval(sides.shift, _noise(sides, floor, len(mine)))
                enough = sides.shift.freedom > 0
                yield GroupChange(kind, name, len(mine), sides.rounds, ratio.value, ratio if enough else None)
