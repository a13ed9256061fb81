"""Rows that measure the same work, taken together: what a line of a table stands on."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeAlias

from metabench.grouping import grouped
from metabench.record.cell import Cell, varying
from metabench.record.measurement import STATUSES, WORK_SPACE, Measurement, Memory, Repetition
from metabench.record.timing import Summary
from metabench.report.axes import TRAINING_AXES
from metabench.report.render.tables import techniques
from metabench.statistics.intervals import NOISY_WIDTH
from metabench.statistics.ratios import Interval, Ratio, ratio_interval, step_interval, time_interval
from metabench.statistics.spread import Spread
from metabench.statistics.trend import trend

CLASSICS = ("maml", "fomaml", "reptile", "anil")
"""The algorithms that stand first in every table; others follow by name."""
BASELINE = CLASSICS[0]
"""The algorithm that others are divided by."""
LOOP = "loop"
"""The engine that others are compared with."""
REASON_LENGTH = 40  # the whole reason stands in the table of rows that are not ok

Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Peak:
    """A peak of memory, and how it was found."""

    bytes: int
    method: str

    @property
    def kind(self) -> str:
        """What was counted: peaks of one kind may be compared, whether or not an engine keeps its work space."""
        return self.method.removesuffix(WORK_SPACE)


@dataclass(frozen=True)
class Bundle:
    """All rounds of all cells that are alike: equal but for axes that do not matter to what is shown.

    A row that failed gives what it had measured before it ended, and a cell that was found incorrect in any round
    nothing.
    """

    cell: Cell
    """The cell of the first row: read from it only the axes on which all rows agree."""
    rows: tuple[Measurement, ...]
    samples: Mapping[Repetition, Sequence[float]]
    """Seconds per meta-iteration, by run and round, of all cells together."""
    step: Interval | None
    """The time of a meta-iteration. Its interval holds `noise`."""
    drift: float
    """The factor by which its time moved, up or down, while it was measured: the geometric mean over its processes. Of
    a process that surely moved by more than `NOISY_WIDTH` it is the change from first to last, and 1 of any other."""
    peak: Peak | None
    parameters: int | None
    noise: Spread | None = None
    """How one process of the run differs from another; None where the run does not tell."""

    @property
    def algorithm(self) -> str:
        return self.cell.algorithm

    @property
    def noisy(self) -> bool:
        """Whether the interval of its time is wide."""
        return self.step is not None and self.step.noisy

    @property
    def rank(self) -> Key:
        """Place in tables: the classics first, and `loop` before other engines."""
        return _rank(self.cell)

    @property
    def sound(self) -> list[Measurement]:
        """The rows whose figures may be shown."""
        return sound_rows(self.rows)

    @property
    def disturbed(self) -> bool:
        """Whether other programs disturbed a time that its figures stand on."""
        return any(row.time and row.time.disturbed for row in self.sound)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the cells."""
        return tuple(sorted({row.id for row in self.rows}))

    def asked_for(self, measure: str) -> bool:
        """Whether any row was to measure `time`, `memory` or `quality`."""
        return any(measure in row.cell.measure for row in self.rows)

    def seeds(self) -> set[int]:
        """The seeds that were to be trained."""
        return {row.cell.seed for row in self.rows if "quality" in row.cell.measure}


def time_key(cell: Cell, *but: str) -> Key:
    """A key that is equal for cells whose meta-iterations cost the same, whatever they have on some axes."""
    return axes_but(cell, "seed", *TRAINING_AXES, *but)


def training_key(cell: Cell) -> Key:
    """A key that is equal for cells that differ in their seed alone."""
    return axes_but(cell, "seed")


def work_key(cell: Cell) -> Key:
    """A key that is equal for cells that do the same work on different engines."""
    return time_key(cell, "engine")


def axes_but(cell: Cell, *left_out: str) -> Key:
    """All axes of a cell but some, as a key. Axes that are not known here take part, so that none is mixed up."""
    return tuple(sorted((name, str(cell[name])) for name in cell.axes if name not in left_out))


def values_of(cell: Cell, axes: Iterable[str]) -> tuple[str, ...]:
    """The values of some axes, as a key."""
    return tuple(str(cell[axis]) for axis in axes)


def by_axes(found: Iterable[Bundle], axes: Sequence[str]) -> list[list[Bundle]]:
    """The bundles that agree on some axes, together."""
    return list(grouped(found, lambda bundle: values_of(bundle.cell, axes)).values())


def by_cost(found: Iterable[Bundle], *but: str) -> list[list[Bundle]]:
    """The bundles whose meta-iterations cost the same, whatever they have on some axes, together."""
    return list(grouped(found, lambda bundle: time_key(bundle.cell, *but)).values())


def bundles(rows: Iterable[Measurement], key: Callable[[Cell], Key], noise: Spread | None = None) -> list[Bundle]:
    """The rows in bundles of equal key, in an order that does not depend on the order of measuring.

    `noise` is how one process of the run differs from another.
    """
    groups = grouped(rows, lambda row: key(row.cell))
    return sorted((_bundle(group, noise) for group in groups.values()), key=lambda bundle: order(bundle.cell))


def time_ratio_of(bundle: Bundle, other: Bundle) -> Ratio | None:
    """How many times as long one takes as the other, formed within common rounds; None where one was not timed."""
    return ratio_interval(bundle.samples, other.samples, noise=bundle.noise)


def order(cell: Cell) -> Key:
    """Sizes first, so that matched cells stand together; then the rank, and plain cells before techniques."""
    sizes = tuple(cell[axis] for axis in ("ways", "shots", "query", "inner_steps", "meta_batch"))
    return (*sizes, *_rank(cell), techniques(cell), axes_but(cell))


def _rank(cell: Cell) -> Key:
    name, engine = cell.algorithm, cell.engine
    return (CLASSICS.index(name) if name in CLASSICS else len(CLASSICS), name, engine != LOOP, engine)


def _bundle(rows: list[Measurement], noise: Spread | None) -> Bundle:
    sound = sound_rows(rows)
    timed = [(row, row.time) for row in sound if row.time and row.time.step.samples]
    samples: dict[Repetition, list[float]] = {}
    for row, time in sorted(timed, key=lambda pair: (pair[0].repetition, pair[0].id)):
        samples.setdefault(row.repetition, []).extend(time.step.samples)
    peaks = [peak for row in sound if (peak := _peak(row)) is not None]
    return Bundle(
        cell=rows[0].cell,
        rows=tuple(rows),
        samples=samples,
        step=step_interval(timed[0][1].step, noise) if len(timed) == 1 else time_interval(samples, noise),
        drift=math.exp(fmean([abs(math.log(drift_of(time.step))) for _, time in timed] or [0.0])),
        peak=max(peaks, key=lambda peak: peak.bytes) if peaks else None,
        parameters=next((row.parameters for row in rows if row.parameters is not None), None),
        noise=noise,
    )


def drift_of(step: Summary) -> float:
    """The last over the first of a process's samples, where they surely moved by more than `NOISY_WIDTH`; else 1."""
    found = trend(step.samples) if step.samples else None
    return found.change if found and found.exceeds(1 + NOISY_WIDTH) else 1.0


def sound_rows(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows whose figures may be shown: a figure is recorded when the gate has passed and its phase has ended."""
    incorrect = {row.id for row in rows if row.status == "incorrect"}
    return [row for row in rows if row.id not in incorrect]


def _peak(row: Measurement) -> Peak | None:
    """Live tensor bytes where they were tracked, else what CUDA's allocator says."""
    memory = row.memory or Memory()
    if memory.tracked_bytes is not None:
        return Peak(memory.tracked_bytes, memory.tracked_method or "tracked tensors")
    if memory.cuda_allocated_bytes is not None:
        return Peak(memory.cuda_allocated_bytes, "CUDA peak allocated")
    return None


def status(bundle: Bundle) -> str:
    """`ok`, or what happened: `oom`, or `timeout (1 of 3 rows)`."""
    bad = [row for row in bundle.rows if row.status != "ok"]
    words = ", ".join(sorted({row.status for row in bad}, key=STATUSES.index))
    return _counted(words, bad, bundle) if bad else "ok"


def ending(bundle: Bundle) -> str:
    """`ok`, or what happened and in which phase: `timeout in quality after 150 s`, `crashed in memory (1 of 3 rows)`.

    The phase is left out where it is not known, or where rows ended in several.
    """
    bad = [row for row in bundle.rows if row.status != "ok"]
    if len({(row.status, row.ended_in) for row in bad}) != 1 or not bad[0].ended_in:
        return status(bundle)
    ended, cut = bad[0], max(row.seconds or 0 for row in bad)
    after = f" after {cut:.0f} s" if ended.status == "timeout" and cut else ""
    return _counted(f"{ended.status} in {ended.ended_in}{after}", bad, bundle)


def _counted(words: str, bad: Sequence[Measurement], bundle: Bundle) -> str:
    return words if len(bad) == len(bundle.rows) else f"{words} ({len(bad)} of {len(bundle.rows)} rows)"


def status_and_reason(bundle: Bundle, longest: int = REASON_LENGTH) -> str:
    """The status, and why if it is not ok, in so many characters at most; how it ended says why of a timeout."""
    bad = [row for row in bundle.rows if row.status != "ok"]
    reason = next((row.reason for row in bad if row.reason and not (row.status == "timeout" and row.ended_in)), "")
    words = ending(bundle) if is_partial(bundle) or not reason else status(bundle)
    if len(reason) > longest:
        reason = reason[: longest - 1].rstrip() + "…"
    return f"{words}: {reason}" if reason else words


def is_partial(bundle: Bundle) -> bool:
    """Whether there are figures of rows that failed, or beside them."""
    return status(bundle) != "ok" and (bundle.step is not None or bundle.peak is not None)


def ids_of(found: Iterable[Bundle | None]) -> tuple[str, ...]:
    """The ids of all cells of some bundles, each once."""
    return tuple(sorted({name for bundle in found if bundle for name in bundle.ids}))


def telling_apart(cells: Sequence[Cell], labels: Sequence[str], axes: Sequence[str]) -> list[str]:
    """The axes without which cells of equal `labels` could not be told apart."""
    alike = grouped(cells, lambda cell: values_of(cell, labels))
    found = {axis for same in alike.values() for axis in varying(same, axes)}
    return [axis for axis in axes if axis in found]
