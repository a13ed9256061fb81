"""What measurements of the same thing differ by: the noise floor of a run, and how its machine drifted."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from metabench.grouping import grouped
from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.report.numbers import Valued, percent, with_interval
from metabench.statistics.intervals import NOISY_WIDTH
from metabench.statistics.ratios import Ratio
from metabench.statistics.spread import Spread, spread_of_pairs, student
from metabench.statistics.trend import Trend, trend

FEWEST_PAIRS = 2
ENORMOUS = 10  # a floor above says no more than that nothing can be told
SAME = " ≈"
"""Marks a ratio whose interval holds 1 or is not known: no difference can be told."""
DRIFTING = " ↕"
"""Marks a time that rose or fell while it was measured, and a ratio that such a drift could explain."""


@dataclass(frozen=True)
class NoiseFloor:
    """A factor that tells how far two processes of the same cell differ that run one right after the other."""

    ratio: float
    """The ratio that the next pair of processes with the same work stays below with a chance of 95 %."""
    pairs: int
    """How many pairs it was learnt from."""

    def over(self, rounds: int) -> float:
        """The noise floor of a ratio that is the mean over so many rounds."""
        return float(self.ratio ** (1 / math.sqrt(rounds)))


def median_of(time: Time) -> float:
    """What is compared of a time by default."""
    return time.step.median


def noise_floor(rows: Iterable[Measurement], figure: Callable[[Time], float] = median_of) -> NoiseFloor | None:
    """The floor from the rows of a run's noise configuration; None where fewer than two pairs were timed on both sides.

    A run merged of several has the highest of their floors.
    """
    floors = [floor for same in by_cell(rows) if (floor := _floor(same, figure))]
    return max(floors, key=lambda floor: floor.ratio, default=None)


def by_cell(rows: Iterable[Measurement]) -> list[list[Measurement]]:
    """The rows of each noise configuration: a run has one, and runs that were merged may have the same."""
    return list(grouped(rows, lambda row: row.id).values())


def _floor(rows: Sequence[Measurement], figure: Callable[[Time], float] = median_of) -> NoiseFloor | None:
    """The floor from the pairs of one cell.

    The logarithm of a pair's ratio is as often above 0 as below, whatever is measured, since its sides differ in
    nothing. So its deviation is the root of the mean square, and the bound is Student's interval of a next value about
    0, with a degree of freedom for each pair: few pairs make the floor high, not wrong.
    """
    logs = [math.log(figure(a) / figure(b)) for a, b in times_of_pairs(rows)]
    if len(logs) < FEWEST_PAIRS:
        return None
    deviation = math.sqrt(sum(log**2 for log in logs) / len(logs))
    return NoiseFloor(math.exp(student(len(logs)) * deviation), len(logs))


def noise_spread(rows: Iterable[Measurement]) -> Spread | None:
    """How one process differs from another anywhere in a run; None where fewer than two pairs were timed.

    A run merged of several has the widest of theirs.
    """
    found = [spread for same in by_cell(rows) if (spread := _spread(same))]
    return max(found, key=lambda spread: spread.half, default=None)


def _spread(rows: Sequence[Measurement]) -> Spread | None:
    logs = [(math.log(median_of(a)), math.log(median_of(b))) for a, b in times_of_pairs(rows)]
    return spread_of_pairs(logs) if len(logs) >= FEWEST_PAIRS else None


def drift(rows: Sequence[Measurement]) -> Trend | None:
    """How the times of the noise configuration move in the course of the run; None without a noise floor."""
    pairs = times_of_pairs(rows)
    return trend([median_of(time) for pair in pairs for time in pair]) if len(pairs) >= FEWEST_PAIRS else None


def pairs_of(rows: Iterable[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Both sides of each pair that was timed as a whole, in order."""
    found: dict[int, dict[str, Measurement]] = {}
    for row in rows:
        if row.status == "ok" and row.time and row.time.step.samples and row.noise:
            found.setdefault(row.noise.pair, {})[row.noise.side] = row
    return [(sides["a"], sides["b"]) for _, sides in sorted(found.items()) if len(sides) == 2]


def times_of_pairs(rows: Iterable[Measurement]) -> list[tuple[Time, Time]]:
    """The times of both sides of each such pair."""
    return [(a.time, b.time) for a, b in pairs_of(rows) if a.time and b.time]


def ratio_text(ratio: Ratio, drift: float = 1.0) -> Valued:
    """A ratio with its interval, and the mark of one that is no difference, or that a drift by this factor explains.

    Noise hides a difference where the interval holds 1 and the ratio is further from it than an interval that is not
    noisy would reach.
    """
    mark = ratio_mark(ratio, drift)
    text = with_interval(ratio) + mark
    if mark == DRIFTING:
        text.doubt = "drift"
    elif mark == SAME and max(ratio.value, 1 / ratio.value) > 1 + NOISY_WIDTH:
        text.doubt = "noise"
    return text


def ratio_mark(ratio: Ratio, drift: float = 1.0) -> str:
    """What may be said of a ratio of times; empty where both sides may be called different."""
    if not ratio.differs:
        return SAME
    return DRIFTING if ratio.low / drift <= 1 <= ratio.high * drift else ""


def floor_text(rows: Sequence[Measurement], noise: Spread | None) -> str:
    """The noise of a run in words, for the header of its tables; `noise` is what its intervals hold."""
    found = [(floor, same[0].cell) for same in by_cell(rows) if (floor := _floor(same))]
    if not found or noise is None:
        why = next((row.reason for row in rows if row.reason), "")
        return f"not measured{f': {why}' if why else ''}; no interval includes it"
    floor, cell = max(found, key=lambda one: one[0].ratio)
    apart, pairs = math.exp(math.sqrt(2) * noise.half), f"{floor.pairs} pairs of {cell.implementation}"
    source = "by the pairs" if noise == noise_spread(rows) else "by the repetitions of all configurations"
    # Neighbours are no less alike than others: where it looks so by chance, one figure is told.
    words = f"two processes that time the same configuration differ by up to a factor of {_factor(apart)}"
    if apart <= floor.ratio:
        words += f" (from {pairs}); 95 %, and every interval of a time includes it"
    else:
        words += (
            f" anywhere in the run ({source}), and of {_factor(floor.ratio)} right after each other (from {pairs}); "
            "95 %, and every interval of a time includes the former"
        )
    # From one run that was merged to another is no course of a run.
    courses = grouped(rows, lambda row: (row.run, row.id)).values()
    return "; ".join([words, *(said for same in courses if (said := _drift_text(same)))])


def two_differ_by(noise: Spread) -> str:
    """How far two processes differ that time the same cell anywhere in the run: `15 %`, `a factor of 2.2`."""
    apart = math.exp(math.sqrt(2) * noise.half)
    return percent(apart - 1) if apart < 2 else f"a factor of {_factor(apart)}"


def _factor(ratio: float) -> str:
    """A factor with two digits of what is above 1."""
    if not 1 < ratio < ENORMOUS:
        return "1" if ratio == 1 else f"more than {ENORMOUS}"
    return f"{ratio:.{max(1, 1 - math.floor(math.log10(ratio - 1)))}f}"


def _drift_text(rows: Sequence[Measurement]) -> str:
    """How much slower or faster the machine got in the course of the run, if by more than its noise."""
    floor, found = _floor(rows), drift(rows)
    if floor is None or found is None or not found.exceeds(floor.ratio):
        return ""
    word, share = ("slower", found.change) if found.change > 1 else ("faster", 1 / found.change)
    return f"the machine got {word} by {100 * (share - 1):.0f} % in the course of the run"
