"""What measurements of the same thing differ by: the noise floor of a run, and how its machine drifted."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.report.numbers import with_interval
from metabench.statistics.ratios import Ratio, student
from metabench.statistics.trend import Trend, trend

FEWEST_PAIRS = 2
ENORMOUS = 10  # a floor above says no more than that nothing can be told
SAME = " ≈"
"""Marks a ratio where no difference can be told."""


@dataclass(frozen=True)
class NoiseFloor:
    """The noise floor: a factor that tells how far two measurements of the same cell differ."""

    ratio: float
    """The ratio that the next pair of processes with the same work stays below with a chance of 95 %."""
    pairs: int
    """How many pairs it was learnt from."""

    def over(self, rounds: int) -> float:
        """The noise floor of a ratio that is the mean over so many rounds."""
        return float(self.ratio ** (1 / math.sqrt(rounds)))

    def hides(self, value: float, rounds: int) -> bool:
        """Whether a ratio over so many rounds is no larger than noise makes it."""
        return max(value, 1 / value) <= self.over(rounds)


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
    """The rows of each run that was merged: a run has one noise configuration."""
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(row.id, []).append(row)
    return list(found.values())


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


def drift(rows: Sequence[Measurement]) -> Trend | None:
    """How the times of the noise configuration move in the course of the run; None without a noise floor."""
    pairs = times_of_pairs(rows)
    return trend([median_of(time) for pair in pairs for time in pair]) if len(pairs) >= FEWEST_PAIRS else None


def pairs_of(rows: Iterable[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Both sides of each pair that was timed as a whole, in order."""
    found: dict[int, dict[str, Measurement]] = {}
    for row in rows:
        if row.status == "ok" and row.time and row.noise:
            found.setdefault(row.noise.pair, {})[row.noise.side] = row
    return [(sides["a"], sides["b"]) for _, sides in sorted(found.items()) if len(sides) == 2]


def times_of_pairs(rows: Iterable[Measurement]) -> list[tuple[Time, Time]]:
    """The times of both sides of each such pair."""
    return [(a.time, b.time) for a, b in pairs_of(rows) if a.time and b.time]


def differs(ratio: Ratio, floor: NoiseFloor | None) -> bool:
    """Whether two times may be called different: their ratio's interval leaves out 1, and it is above the floor."""
    if ratio.low <= 1 <= ratio.high:
        return False
    return floor is None or not floor.hides(ratio.value, ratio.rounds)


def ratio_text(ratio: Ratio, floor: NoiseFloor | None) -> str:
    """A ratio with its interval; in a run with a noise floor marked where no difference can be told."""
    return with_interval(ratio) + (SAME if floor and not differs(ratio, floor) else "")


def floor_text(rows: Sequence[Measurement], rounds: int) -> str:
    """The floor in words, for the header of a run of so many rounds."""
    floor = noise_floor(rows)
    if floor is None:
        why = next((row.reason for row in rows if row.reason), "")
        return f"not measured: {why}" if why else "not measured"
    words = f"two processes that time the same cell differ by up to a factor of {_factor(floor.ratio)}"
    if rounds > 1:
        words += f", and by up to {_factor(floor.over(rounds))} in the mean over {rounds} rounds"
    cell = rows[0].cell
    return f"{words} (95 %; from {floor.pairs} pairs of {cell.implementation})"


def _factor(ratio: float) -> str:
    """A factor with two digits of what is above 1."""
    if not 1 < ratio < ENORMOUS:
        return "1" if ratio == 1 else f"more than {ENORMOUS}"
    return f"{ratio:.{max(1, 1 - math.floor(math.log10(ratio - 1)))}f}"


def drift_warnings(rows: Iterable[Measurement]) -> list[str]:
    """A sentence if the machine got slower or faster in the course of the run by more than its noise."""
    return [sentence for same in by_cell(rows) if (sentence := _drift_warning(same))]


def _drift_warning(rows: Sequence[Measurement]) -> str | None:
    floor, found = _floor(rows), drift(rows)
    if floor is None or found is None or not found.exceeds(floor.ratio):
        return None
    word, share = ("slower", found.change) if found.change > 1 else ("faster", 1 / found.change)
    return (
        f"the machine got {word} by {100 * (share - 1):.0f} % in the course of the run (by its noise pairs): ratios "
        "within a round hold, times of different rounds and settings do not compare; let it rest, and run again"
    )
