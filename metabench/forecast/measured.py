"""What a run tells of each implementation: laws of its time, memory and calls, and its cells of several processes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.optimize import nnls

from metabench.forecast.model import Work
from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.record.measurement import Measurement, Peaks
from metabench.record.timing import SHORTEST_S
from metabench.report.axes import TRAINING_AXES
from metabench.report.bundles import Bundle, axes_but, bundles, ids_of, order, sound_rows, time_key
from metabench.statistics.intervals import Interval
from metabench.statistics.laws import Law, fit


@dataclass(frozen=True)
class Shared:
    """A cell of several processes."""

    cell: Cell
    step: Interval
    all_reduce_s: float
    """What the leading process spends in the all-reduce, the wait for the slowest included: the median over rounds."""
    ahead_s: float
    """What the leading process computes less than the one that has most tasks: so long it waits for that one."""
    ids: tuple[str, ...]

    @property
    def own_tasks(self) -> int:
        """Tasks of the process that has most."""
        return -(-self.cell.meta_batch // self.cell.world_size)

    @property
    def communication_s(self) -> float:
        """What a step takes beyond the compute of the process with most tasks."""
        return max(0.0, self.all_reduce_s - self.ahead_s)


@dataclass(frozen=True)
class Counted:
    """The counted work of a cell of one process, and its time, if it was timed."""

    tasks: int
    step: Interval | None
    flops: float
    bytes: float
    calls: int
    peaks: Peaks
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """What a process takes to draw its tasks of a meta-batch, in seconds; 0 where that was not timed."""

    fixed: float
    own: float
    """Seconds for each task that the process makes."""
    other: float
    """Seconds for each task of another process, which this one passes over."""

    def seconds(self, own: int, tasks: int) -> float:
        """Seconds for a meta-batch of `tasks` tasks, of which the process makes `own`."""
        return self.fixed + self.own * own + self.other * (tasks - own)


@dataclass(frozen=True)
class MeasuredLine:
    """One implementation in one setting, at several meta-batch sizes in one process."""

    cell: Cell
    """The one with the largest meta-batch."""
    time: Law | None
    """Seconds of a meta-iteration by its tasks; None below two sizes."""
    memory: Law | None
    """Bytes of a process's peak by its tasks; None below two sizes."""
    work: Work | None
    """None where it was not counted at two sizes."""
    direction_bytes: float
    drawing: Drawing
    counted: tuple[Counted, ...]
    shared: tuple[Shared, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """`algorithm/engine`"""
        return self.cell.implementation

    def compute(self, tasks: int) -> float:
        """Seconds of a meta-iteration of so many tasks in one process, by the straight line."""
        assert self.time is not None
        return self.time.fixed.value + self.time.each.value * tasks


def lines(rows: Iterable[Measurement]) -> list[MeasuredLine]:
    """All lines that were timed or counted in one process, in the order of other tables."""
    bundled = bundles((row for row in rows if row.cell.meta_batch > 0), time_key)
    groups = grouped(bundled, lambda each: axes_but(each.cell, "seed", "world_size", "meta_batch", *TRAINING_AXES))
    found = [line for group in groups.values() if (line := _line(group))]
    return sorted(found, key=lambda line: order(line.cell))


def _line(group: Sequence[Bundle]) -> MeasuredLine | None:
    alone = {b.cell.meta_batch: b for b in group if b.cell.world_size == 1}
    counted = {one.tasks: one for one in _counted(alone)}
    known = [size for size, b in alone.items() if b.step or size in counted]
    if not known:
        return None
    largest = alone[max(known)]
    numbers = {number for b in alone.values() for number in b.samples}
    times = {n: {float(size): median(b.samples[n]) for size, b in alone.items() if n in b.samples} for n in numbers}
    peaks = {float(size): float(b.peak.bytes) for size, b in alone.items() if b.peak and b.peak.bytes}
    time = fit(times)
    each_s = time.each.value if time else 0.0
    direction = float((largest.parameters or 0) * (8 if largest.cell.precision == "float64" else 4))
    return MeasuredLine(
        largest.cell,
        time,
        fit({0: peaks}),
        _work(counted, direction),
        direction,
        fit_drawing(group),
        tuple(counted.values()),
        tuple(_shared(sorted(group, key=lambda b: (b.cell.world_size, b.cell.meta_batch)), each_s)),
        ids_of(group),
    )


def _counted(alone: Mapping[int, Bundle]) -> Iterator[Counted]:
    for size, bundle in sorted(alone.items()):
        for work in [row.work for row in sound_rows(bundle.rows) if row.work]:
            if work.flops and work.bytes and work.calls:
                yield Counted(size, bundle.step, work.flops, work.bytes, work.calls, work.peaks, bundle.ids)
                break


def _work(counted: Mapping[int, Counted], direction_bytes: float) -> Work | None:
    calls = fit({0: {float(size): float(one.calls) for size, one in counted.items()}})
    if calls is None:
        return None
    size, one = max(counted.items())
    return Work(one.flops / size, one.bytes / size, calls.fixed.value, calls.each.value, direction_bytes)


def fit_drawing(group: Iterable[Bundle]) -> Drawing:
    """The drawing of tasks, by least squares of relative errors of each cell's least time.

    The least, since other programs can only make drawing take longer. Where no process was seen to pass over a task,
    this is taken to last as long as making one.
    """
    rows, seconds = [], []
    for bundle in group:
        drawn = [row.time.sampling.median for row in sound_rows(bundle.rows) if row.time and row.time.sampling]
        if drawn and min(drawn) >= SHORTEST_S:
            tasks = bundle.cell.meta_batch
            own = tasks // bundle.cell.world_size  # of the leading process, which has fewest
            rows.append((1, own, tasks - own))
            seconds.append(min(drawn))
    if not rows:
        return Drawing(0.0, 0.0, 0.0)
    fixed, own_s, other_s = costs(rows, seconds, seconds)
    return Drawing(fixed, own_s, other_s if any(other for *_, other in rows) else own_s)


def _shared(group: Iterable[Bundle], each_s: float) -> Iterator[Shared]:
    """The cells of several processes, given the seconds of a task."""
    for bundle in group:
        times = [row.time for row in sound_rows(bundle.rows) if row.time]
        spent = [seconds for time in times if (seconds := time.communication_s or 0.0) >= SHORTEST_S]
        if bundle.cell.world_size > 1 and bundle.step and spent:
            uneven = bundle.cell.meta_batch % bundle.cell.world_size > 0  # then the leading process has a task less
            yield Shared(bundle.cell, bundle.step, median(spent), each_s * uneven, bundle.ids)


def costs(rows: Sequence[tuple[float, ...]], seconds: Sequence[float], measured: Sequence[float]) -> list[float]:
    """What one unit of each column of `rows` takes, none less than 0, by least squares of relative errors.

    `seconds` are what a row takes, as far as the columns explain it, of what was `measured`.
    """
    design = np.array(rows) / np.array(measured)[:, None]
    scale = np.abs(design).max(0)
    scale[scale == 0] = 1.0
    found, _ = nnls(design / scale, np.array(seconds) / np.array(measured))
    return [float(value) for value in found / scale]
