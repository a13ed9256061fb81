"""What changed from one run to another: each cell's time and memory, each training's quality, with a verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy.special import ndtr, ndtri

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, Peak, bundles, ids_of, order, status, training_key
from metabench.report.compare.matching import (
    Alone,
    StatusChange,
    alone,
    check_common,
    common,
    status_changes,
    work_of,
)
from metabench.report.compare.times import GroupChange, TimeChange, floor_of, group_changes, levels, time_changes
from metabench.report.noise import NoiseFloor
from metabench.report.provenance import differing_conditions
from metabench.report.results import Run
from metabench.report.scores import gain, on_other_data, scores_of
from metabench.report.sections.device import instructions_of
from metabench.statistics.intervals import CONFIDENCE, Interval
from metabench.statistics.ranks import LEVEL, adjusted

AmountVerdict: TypeAlias = Literal["more", "less", "the same"]
QualityVerdict: TypeAlias = Literal["worse", "better", "the same", "cannot tell"]
LOWER_IS_BETTER = ("mse",)
SAME_COUNT = 0.005
"""Share by which counts of instructions of two processes may differ, and still be called the same."""


@dataclass(frozen=True)
class MemoryChange:
    """A cell's peak memory in both runs, in bytes: exact, so that any change is one."""

    base: int
    new: int
    method: str
    verdict: AmountVerdict


@dataclass(frozen=True)
class CountChange:
    """The instructions of a cell's meta-iteration in both runs: they do not move with load or clock."""

    base: float
    new: float
    method: str
    verdict: AmountVerdict


@dataclass(frozen=True)
class CellChange:
    """What a meta-iteration costs in both runs, whatever is trained and evaluated around it."""

    ids: tuple[str, ...]
    """Ids of the cells of both runs."""
    cell: Cell
    statuses: tuple[str, str]
    time: TimeChange | None
    memory: MemoryChange | None
    instructions: CountChange | None
    disturbed: tuple[bool, bool] = (False, False)
    """Whether other programs disturbed a time of the base, and of the new run."""


@dataclass(frozen=True)
class QualityChange:
    """What a training reaches, over the training seeds that both runs have."""

    cell: Cell
    metric: str
    difference: Interval
    """New minus base."""
    seeds: int
    p: float
    """Corrected for the number of trainings."""
    verdict: QualityVerdict


@dataclass(frozen=True)
class Comparison:
    """Two runs, cell by cell."""

    base: Run
    new: Run
    paired: bool
    """Whether each round of a cell was measured in both runs one right after the other."""
    floor: NoiseFloor | None
    """The higher one of the two runs'."""
    same_machine: bool
    cells: tuple[CellChange, ...]
    quality: tuple[QualityChange, ...]
    groups: tuple[GroupChange, ...]
    statuses: tuple[StatusChange, ...]
    """Cells whose statuses differ."""
    alone: tuple[Alone, ...]
    """Figures that one run alone has."""
    warnings: tuple[str, ...]


def compare(base: Run, new: Run) -> Comparison:
    """Compare two runs. Costs are compared where all is the same that a meta-iteration's cost depends on, scores where
    all but the seed is.

    Raises `UserError` where the runs have no cell in common.
    """
    works = work_of(base), work_of(new)
    check_common(*works)
    paired = bool(base.environment.pairing) and base.environment.pairing == new.environment.pairing
    pairs = common(works[0].costs, works[1].costs)
    pairs.sort(key=lambda pair: order(pair[0].cell))
    timed = {str(number): (levels(a.rows), levels(b.rows)) for number, (a, b) in enumerate(pairs)}
    floors = [floor for run in (base, new) if (floor := floor_of(run.noise_rows))]
    floor = max(floors, key=lambda floor: floor.ratio, default=None)
    times = time_changes(timed, paired, floor)
    conditions = differing_conditions(base, new)
    groups = group_changes([(b.cell, timed[str(number)]) for number, (_, b) in enumerate(pairs)], paired, floor)
    return Comparison(
        base=base,
        new=new,
        paired=paired,
        floor=floor,
        same_machine=conditions.same_machine,
        cells=tuple(_cell_change(*pair, times.get(str(number))) for number, pair in enumerate(pairs)),
        quality=quality_changes(base.measurements, new.measurements),
        groups=tuple(groups),
        statuses=status_changes(*works),
        alone=alone(*works),
        warnings=conditions.sentences,
    )


def _cell_change(base: Bundle, new: Bundle, time: TimeChange | None) -> CellChange:
    statuses = (status(base), status(new))
    disturbed = (base.disturbed, new.disturbed)
    counted, memory = _counted(base, new), _memory(base.peak, new.peak)
    return CellChange(ids_of((base, new)), new.cell, statuses, time, memory, counted, disturbed)


def _memory(base: Peak | None, new: Peak | None) -> MemoryChange | None:
    if base is None or new is None or base.kind != new.kind:
        return None
    verdict: AmountVerdict = "more" if new.bytes > base.bytes else "less" if new.bytes < base.bytes else "the same"
    return MemoryChange(base.bytes, new.bytes, new.method, verdict)


def _counted(base: Bundle, new: Bundle) -> CountChange | None:
    before, after = (instructions_of(bundle.sound) for bundle in (base, new))
    methods = {row.instructions.method for bundle in (base, new) for row in bundle.sound if row.instructions}
    if before is None or after is None or len(methods) > 1:
        return None
    alike = abs(after - before) <= SAME_COUNT * before
    return CountChange(before, after, methods.pop(), "the same" if alike else "more" if after > before else "less")


def quality_changes(base: Iterable[Measurement], new: Iterable[Measurement]) -> tuple[QualityChange, ...]:
    """Trainings that are the same but for their seeds, over the seeds of both runs; none of them on other data.

    Scores that are equal to the last bit are the same, whatever their interval.
    """
    sides = [{training_key(bundle.cell): bundle for bundle in bundles(rows, training_key)} for rows in (base, new)]
    found = [made for key, bundle in sides[1].items() if key in sides[0] and (made := _quality(sides[0][key], bundle))]
    corrected = adjusted([p for *_, p in found])
    return tuple(
        QualityChange(cell, metric, change, seeds, p, _quality_verdict(metric, change, p))
        for (cell, metric, change, seeds, _), p in zip(found, corrected, strict=True)
        if p is not None
    )


def _quality(base: Bundle, new: Bundle) -> tuple[Cell, str, Interval, int, float] | None:
    gained, before, after = gain(new, base), scores_of(base), scores_of(new)
    if not gained or on_other_data(new, base):
        return None
    found, seeds = gained.figure, before.keys() & after.keys()
    metric = next(row.quality.metric for row in new.rows if row.quality)
    if all(after[seed] == before[seed] for seed in seeds):
        return new.cell, metric, Interval(0.0, 0.0, 0.0), len(seeds), 1.0
    half = found.value - found.low if found.value > 0 else found.high - found.value
    deviations = abs(found.value) / half * float(ndtri((1 + CONFIDENCE) / 2)) if half else math.inf
    return new.cell, metric, found, len(seeds), float(2 * ndtr(-deviations))


def _quality_verdict(metric: str, change: Interval, p: float) -> QualityVerdict:
    if change.low == change.high == 0:
        return "the same"
    if p > LEVEL:
        return "cannot tell"
    return "worse" if (change.value > 0) == (metric in LOWER_IS_BETTER) else "better"
