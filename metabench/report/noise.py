"""What measurements of the same thing differ by: the noise floor of a run, and how its machine drifted."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from metabench.record.measurement import Measurement, Time
from metabench.report.numbers import NOTHING, exact, time_text, with_interval
from metabench.report.render.tables import Section, Table, setting
from metabench.statistics.ratios import Ratio, step_interval, student
from metabench.statistics.trend import Trend, trend

FEWEST_PAIRS = 2
ENORMOUS = 10  # a floor above says no more than that nothing can be told
SETTING_AXES = (
    *("task", "ways", "shots", "model", "engine", "query", "train_ways", "train_shots", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "world_size", "machine"),
)
SAME = " ≈"
SAME_NOTE = (
    "≈ no difference that can be told: the interval holds 1 or is not known, or the ratio is within the noise floor."
)


@dataclass(frozen=True)
class NoiseFloor:
    """By what factor two measurements of the same cell differ."""

    ratio: float
    """What the next pair stays below with a chance of 95 %: two processes, one after the other, the same work."""
    pairs: int
    """How many pairs it was learnt from."""

    def over(self, rounds: int) -> float:
        """The same for a ratio that is the mean over so many rounds."""
        return float(self.ratio ** (1 / math.sqrt(rounds)))

    def hides(self, value: float, rounds: int) -> bool:
        """Whether a ratio over so many rounds is no larger than noise makes it."""
        return max(value, 1 / value) <= self.over(rounds)


def median_of(time: Time) -> float:
    """What is compared of a time by default."""
    return time.step.median


def noise_floor(references: Sequence[Measurement], figure: Callable[[Time], float] = median_of) -> NoiseFloor | None:
    """The floor from a run's reference rows; None where fewer than two pairs were timed on both sides.

    Of a run merged of several, the highest of theirs.
    """
    floors = [floor for same in by_cell(references) if (floor := _floor(same, figure))]
    return max(floors, key=lambda floor: floor.ratio, default=None)


def by_cell(references: Sequence[Measurement]) -> list[list[Measurement]]:
    """The references of each run that was merged: a run has one reference cell."""
    found: dict[str, list[Measurement]] = {}
    for row in references:
        found.setdefault(str(row.id), []).append(row)
    return list(found.values())


def _floor(references: Sequence[Measurement], figure: Callable[[Time], float] = median_of) -> NoiseFloor | None:
    """The floor from the pairs of one cell.

    The logarithm of a pair's ratio is as often above 0 as below, whatever is measured, since its sides differ in
    nothing. So its deviation is the root of the mean square, and the bound is Student's interval of a next value about
    0, with a degree of freedom for each pair: few pairs are paid for by a high floor, not by a wrong one.
    """
    logs = [math.log(a / b) for a, b in _pairs(references, figure).values()]
    if len(logs) < FEWEST_PAIRS:
        return None
    deviation = math.sqrt(sum(log**2 for log in logs) / len(logs))
    return NoiseFloor(math.exp(student(len(logs)) * deviation), len(logs))


def drift(references: Sequence[Measurement]) -> Trend | None:
    """How the reference's times move from the start of the run to its end; None without a noise floor."""
    pairs = _pairs(references)
    return trend([seconds for pair in pairs.values() for seconds in pair]) if len(pairs) >= FEWEST_PAIRS else None


def _pairs(
    references: Sequence[Measurement], figure: Callable[[Time], float] = median_of
) -> dict[int, tuple[float, float]]:
    """The medians of both sides of each whole pair, in order."""
    found: dict[int, dict[str, float]] = {}
    for row in references:
        if row.status == "ok" and row.time and row.noise:
            found.setdefault(row.noise.pair, {})[row.noise.side] = figure(row.time)
    return {pair: (sides["a"], sides["b"]) for pair, sides in sorted(found.items()) if len(sides) == 2}


def differs(ratio: Ratio, floor: NoiseFloor | None) -> bool:
    """Whether two times may be called different: their ratio's interval leaves out 1, and it is above the floor."""
    if ratio.low <= 1 <= ratio.high:
        return False
    return floor is None or not floor.hides(ratio.value, ratio.rounds)


def ratio_text(ratio: Ratio, floor: NoiseFloor | None) -> str:
    """A ratio with its interval; in a run with a noise floor marked where no difference can be told."""
    return with_interval(ratio) + (SAME if floor and not differs(ratio, floor) else "")


def floor_text(references: Sequence[Measurement], rounds: int) -> str:
    """The floor in words, for the header of a run of so many rounds."""
    floor = noise_floor(references)
    if floor is None:
        why = next((str(row.reason) for row in references if row.reason), "")
        return f"not measured: {why}" if why else "not measured"
    words = f"two processes that time the same cell differ by up to a factor of {_factor(floor.ratio)}"
    if rounds > 1:
        words += f", and by up to {_factor(floor.over(rounds))} in the mean over {rounds} rounds"
    cell = references[0].cell
    return f"{words} (95 %; from {floor.pairs} pairs of {cell.algorithm}/{cell.engine})"


def _factor(ratio: float) -> str:
    """With two digits of what is above 1."""
    if not 1 < ratio < ENORMOUS:
        return "1" if ratio == 1 else f"more than {ENORMOUS}"
    return f"{ratio:.{max(1, 1 - math.floor(math.log10(ratio - 1)))}f}"


def drift_warnings(references: Sequence[Measurement]) -> list[str]:
    """A sentence if the machine got slower or faster in the course of the run by more than its noise."""
    return [sentence for same in by_cell(references) if (sentence := _drift_warning(same))]


def _drift_warning(references: Sequence[Measurement]) -> str | None:
    floor, found = _floor(references), drift(references)
    if floor is None or found is None or not found.exceeds(floor.ratio):
        return None
    word, share = ("slower", found.change) if found.change > 1 else ("faster", 1 / found.change)
    return (
        f"the machine got {word} by {100 * (share - 1):.0f} % in the course of the run (by its reference): ratios "
        "within a round hold, times of different rounds and settings do not compare; let it rest, and run again"
    )


def references_section(references: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """The pairs that the noise floor was learnt from."""
    return Section("Noise floor", tuple(_table(same, data) for same in by_cell(references) if _pairs(same)))


def _table(references: Sequence[Measurement], data: Mapping[str, str]) -> Table:
    pairs = _pairs(references)
    began = {row.noise.pair: row.started for row in reversed(references) if row.noise}
    by_side = {(row.noise.pair, row.noise.side): row.time for row in references if row.noise}
    body = tuple(
        (str(pair), began[pair], *(_time(by_side[pair, side]) for side in ("a", "b")), exact(a / b))
        for pair, (a, b) in pairs.items()
    )
    cell = references[0].cell
    return Table(
        f"Noise floor: {cell.algorithm}, {setting(cell, SETTING_AXES, data)}",
        "The same cell timed in two processes, one right after the other, at intervals across the run.",
        ("pair", "began", "time a", "time b", "a ÷ b"),
        body,
        cells=((str(references[0].id),),) * len(body),
    )


def _time(time: Time | None) -> str:
    return time_text(step_interval(time.step)) if time else NOTHING


def same_notes(rows: Iterable[Sequence[str]]) -> list[str]:
    """What the mark means, for a table in which it stands."""
    return [SAME_NOTE] if any(SAME in text for row in rows for text in row) else []
