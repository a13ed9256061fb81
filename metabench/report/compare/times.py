"""What changed in the times of two runs: ratios with intervals, tests over rounds, verdicts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle
from metabench.report.noise import NoiseFloor, noise_floor
from metabench.statistics.ranks import LEVEL, adjusted, shift_of_pairs, shift_of_sets, smallest_p
from metabench.statistics.ratios import Interval, ratio_interval

TimeVerdict: TypeAlias = Literal["slower", "faster", "the same", "cannot tell"]
Pair: TypeAlias = tuple[Bundle, Bundle]
"""A cell in the base and in the new run."""
SAME = 1.05
"""Times whose ratio lies within this factor, with its whole interval, are called the same."""
FASTEST = 0.1
"""The share of a process's samples that its time is taken from: other programs can only make a sample slower."""
FEW_BEYOND = 1.25
"""Factor beyond which a whole interval must lie for a verdict, where rounds are too few for a test of ranks."""
FEWEST_ROUNDS = 3  # with fewer, no interval says how processes differ


@dataclass(frozen=True)
class TimeChange:
    """A cell's time in both runs, and the ratio of the new one to the base."""

    base_s: float
    new_s: float
    ratio: Interval
    rounds: int
    """The fewer of the two runs'."""
    p: float | None
    """Corrected for the number of cells; None with too few rounds for a test."""
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
class _Estimate:
    """A ratio of times, before it is known how many were looked at."""

    ratio: Interval
    rounds: int
    p: float | None


def fastest(samples: Sequence[float]) -> list[float]:
    """The fastest tenth of a process's samples, at least one."""
    return sorted(samples)[: max(1, math.ceil(FASTEST * len(samples)))]


def level(samples: Sequence[float]) -> float:
    """The logarithm of what a process took, in seconds: of the median of its fastest samples."""
    return math.log(median(fastest(samples)))


def floor_of(noise_rows: Sequence[Measurement]) -> NoiseFloor | None:
    """The noise floor of the figure that is compared here: it takes the median's place in each noise row."""
    return noise_floor(noise_rows, lambda time: math.exp(level(time.step.samples)))


def time_changes(pairs: Mapping[str, Pair], paired: bool, floor: NoiseFloor | None) -> dict[str, TimeChange]:
    """The change of every cell, by its id, that was timed in both runs; `paired`: each round in both, back to back."""
    found = {name: estimate for name, (base, new) in pairs.items() if (estimate := _estimate(base, new, paired))}
    corrected = adjusted([estimate.p for estimate in found.values()])
    return {
        name: _change(*pairs[name], estimate, p, _noise(estimate.rounds, paired, floor))
        for (name, estimate), p in zip(found.items(), corrected, strict=True)
    }


def _estimate(base: Bundle, new: Bundle, paired: bool) -> _Estimate | None:
    before, after = _levels(base), _levels(new)
    if not before or not after:
        return None
    common = sorted(before.keys() & after.keys())
    if paired and smallest_p(len(common), len(common), paired=True) <= LEVEL:
        shift = shift_of_pairs([after[n] - before[n] for n in common])
        return _Estimate(shift.as_factor, len(common), shift.p)
    if not paired and smallest_p(len(before), len(after), paired=False) <= LEVEL:
        shift = shift_of_sets(list(before.values()), list(after.values()))
        return _Estimate(shift.as_factor, min(len(before), len(after)), shift.p)
    numerator, denominator = ({n: fastest(s) for n, s in side.samples.items()} for side in (new, base))
    ratio = ratio_interval(numerator, denominator, least=1)
    return _Estimate(ratio, ratio.rounds, None) if ratio else None


def _noise(rounds: int, paired: bool, floor: NoiseFloor | None) -> float:
    """The factor by which two equal configurations differ. Rounds in runs measured apart do not average it out."""
    if floor is None:
        return 1.0
    return floor.over(rounds) if paired else floor.ratio


def _change(base: Bundle, new: Bundle, found: _Estimate, p: float | None, noise: float) -> TimeChange:
    base_s, new_s = (math.exp(median(_levels(side).values())) for side in (base, new))
    return TimeChange(base_s, new_s, found.ratio, found.rounds, p, time_verdict(found.ratio, found.rounds, p, noise))


def time_verdict(ratio: Interval, rounds: int, p: float | None, noise: float) -> TimeVerdict:
    """The verdict on a ratio of times; `noise` is the factor by which two equal configurations differ."""
    if p is None:
        significant = rounds >= FEWEST_ROUNDS and (ratio.low > FEW_BEYOND or ratio.high < 1 / FEW_BEYOND)
    else:
        significant = p <= LEVEL
    if significant and max(ratio.value, 1 / ratio.value) > noise:
        return "slower" if ratio.value > 1 else "faster"
    alike = rounds >= FEWEST_ROUNDS and ratio.low >= 1 / SAME and ratio.high <= SAME
    return "the same" if alike else "cannot tell"


def group_changes(pairs: Sequence[Pair]) -> Iterator[GroupChange]:
    """The geometric mean per algorithm and per engine, formed within each round: its interval is over rounds."""
    both = [(_levels(base), _levels(new), new.cell) for base, new in pairs]
    timed = [(before, after, cell) for before, after, cell in both if before.keys() & after.keys()]
    kinds: tuple[Literal["algorithm", "engine"], ...] = ("algorithm", "engine")
    for kind in kinds:
        for name in sorted({str(cell[kind]) for *_, cell in timed}):
            mine = [(before, after) for before, after, cell in timed if cell[kind] == name]
            rounds = sorted(set.intersection(*(before.keys() & after.keys() for before, after in mine)))
            means = [math.fsum(after[n] - before[n] for before, after in mine) / len(mine) for n in rounds]
            if ratio := _mean_ratio(means):
                enough = len(rounds) >= FEWEST_ROUNDS
                yield GroupChange(kind, name, len(mine), len(rounds), ratio.value, ratio if enough else None)


def _mean_ratio(logarithms: Sequence[float]) -> Interval | None:
    """The ratio whose logarithms were found in so many rounds, with its interval over them."""
    if smallest_p(len(logarithms), len(logarithms), paired=True) <= LEVEL:
        return shift_of_pairs(logarithms).as_factor
    ratios = {number: [math.exp(log)] for number, log in enumerate(logarithms)}
    return ratio_interval(ratios, {number: [1.0] for number in ratios}, least=1)


def _levels(bundle: Bundle) -> dict[int, float]:
    return {number: level(samples) for number, samples in bundle.samples.items()}
