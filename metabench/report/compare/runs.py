"""What changed from one run to another: each cell's time and memory, each training's quality, with a verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy.special import ndtr, ndtri

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, Peak, axes_but, bundles, order, status, training_key
from metabench.report.compare.times import GroupChange, TimeChange, floor_of, group_changes, time_changes
from metabench.report.noise import NoiseFloor
from metabench.report.provenance import differing_conditions
from metabench.report.results import Run
from metabench.report.scores import gain, scores_of
from metabench.statistics.intervals import CONFIDENCE, Interval
from metabench.statistics.ranks import LEVEL, adjusted

MemoryVerdict: TypeAlias = Literal["more", "less", "the same"]
QualityVerdict: TypeAlias = Literal["worse", "better", "the same", "cannot tell"]
LOWER_IS_BETTER = ("mse",)


@dataclass(frozen=True)
class MemoryChange:
    """A cell's peak memory in both runs, in bytes: exact, so that any change is one."""

    base: int
    new: int
    method: str
    verdict: MemoryVerdict


@dataclass(frozen=True)
class CellChange:
    """One cell in both runs."""

    id: str
    cell: Cell
    statuses: tuple[str, str]
    lost: bool
    """Whether it was ok and is so in no round any more, or is incorrect."""
    time: TimeChange | None
    memory: MemoryChange | None


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
    base_only: tuple[Cell, ...]
    """Cells that only the base has."""
    new_only: tuple[Cell, ...]
    warnings: tuple[str, ...]


def compare(base: Run, new: Run) -> Comparison:
    """Compare two runs; cells are the same where they have the same id."""
    paired = bool(base.environment.pairing) and base.environment.pairing == new.environment.pairing
    before, after = cells_of(base), cells_of(new)
    common = sorted(before.keys() & after.keys(), key=lambda name: order(before[name].cell))
    pairs = {name: (before[name], after[name]) for name in common}
    floors = [floor for run in (base, new) if (floor := floor_of(run.noise_rows))]
    floor = max(floors, key=lambda floor: floor.ratio, default=None)
    times = time_changes(pairs, paired, floor)
    conditions = differing_conditions(base, new)
    return Comparison(
        base=base,
        new=new,
        paired=paired,
        floor=floor,
        same_machine=conditions.same_machine,
        cells=tuple(_cell_change(name, *sides, times.get(name)) for name, sides in pairs.items()),
        quality=quality_changes(base.measurements, new.measurements),
        groups=tuple(group_changes(list(pairs.values()))),
        base_only=tuple(bundle.cell for name, bundle in before.items() if name not in after),
        new_only=tuple(bundle.cell for name, bundle in after.items() if name not in before),
        warnings=(*conditions.sentences, *(() if pairs else ("the runs have no cell in common",))),
    )


def cells_of(run: Run) -> dict[str, Bundle]:
    """The rounds of each cell, by its id."""
    return {bundle.rows[0].id: bundle for bundle in bundles(run.measurements, axes_but)}


def _cell_change(name: str, base: Bundle, new: Bundle, time: TimeChange | None) -> CellChange:
    now = {row.status for row in new.rows}
    lost = status(base) == "ok" and ("ok" not in now or "incorrect" in now)
    return CellChange(name, new.cell, (status(base), status(new)), lost, time, _memory(base.peak, new.peak))


def _memory(base: Peak | None, new: Peak | None) -> MemoryChange | None:
    if base is None or new is None or base.method != new.method:
        return None
    verdict: MemoryVerdict = "more" if new.bytes > base.bytes else "less" if new.bytes < base.bytes else "the same"
    return MemoryChange(base.bytes, new.bytes, new.method, verdict)


def quality_changes(base: Iterable[Measurement], new: Iterable[Measurement]) -> tuple[QualityChange, ...]:
    """Trainings that are the same but for their seeds, over the seeds of both runs.

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
    if not gained:
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
