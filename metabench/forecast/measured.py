"""What a run says of each implementation: laws of its time, memory and calls, and its cells of several processes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

from metabench.forecast.model import Link, Work, ring
from metabench.record import measurement as record
from metabench.record.cell import Cell
from metabench.record.measurement import SHORTEST_S, Measurement
from metabench.report.bundles import TRAINING_AXES, Bundle, axes_but, bundles, ids_of, order, sound_rows, time_key
from metabench.report.sections.parallel import processes
from metabench.statistics.laws import Law, fit
from metabench.statistics.ratios import Interval


@dataclass(frozen=True)
class Shared:
    """A cell of several processes."""

    processes: int
    tasks: int
    step: Interval
    communication_s: float
    """What a process spends in the all-reduce, the wait for the slowest included: the median over rounds."""
    ids: tuple[str, ...]

    @property
    def own_tasks(self) -> int:
        """Of the process that has most."""
        return -(-self.tasks // self.processes)


@dataclass(frozen=True)
class Counted:
    """A cell of one process whose operations, bytes and calls are known, beside the peaks of its machine."""

    tasks: int
    step: Interval
    flops: float
    bytes: float
    calls: int
    peak: float
    """Operations per second, of matrix products or convolutions, whichever are faster."""
    bandwidth: float
    """Bytes per second."""
    ids: tuple[str, ...]

    @property
    def share_of_peak(self) -> float:
        """Of the operations that the machine could carry out in the time of a step."""
        return self.flops / self.step.value / self.peak

    @property
    def share_of_bandwidth(self) -> float:
        """Above 1 where much stays in caches."""
        return self.bytes / self.step.value / self.bandwidth

    @property
    def call_s(self) -> float:
        """Seconds for each operator, its own work included."""
        return self.step.value / self.calls


@dataclass(frozen=True)
class Drawing:
    """What a process spends on having its tasks of a meta-batch, in seconds; 0 where it was not timed."""

    fixed: float
    own: float
    """For each task that it makes."""
    other: float
    """For each task of another process, which it passes over."""

    def seconds(self, own: int, tasks: int) -> float:
        """Of a meta-batch of so many tasks, `own` of which are its own."""
        return self.fixed + self.own * own + self.other * (tasks - own)


@dataclass(frozen=True)
class Line:
    """One implementation in one setting, at several meta-batch sizes in one process."""

    cell: Cell
    """Of its largest meta-batch."""
    time: Law | None
    """Seconds of a meta-iteration against its tasks; None below two sizes."""
    memory: Law | None
    """Bytes of a process's peak against its tasks; None below two sizes."""
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
        return f"{self.cell.algorithm}/{self.cell.engine}"

    @property
    def precision(self) -> str:
        """Old runs do not say theirs."""
        return str(self.cell.precision)

    def compute(self, tasks: int) -> float:
        """Seconds of a meta-iteration of so many tasks in one process, by the straight line."""
        assert self.time is not None
        return self.time.fixed.value + self.time.each.value * tasks


def lines(rows: Sequence[Measurement]) -> list[Line]:
    """All lines with a time in one process, in the order of other tables."""
    groups: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in bundles((row for row in rows if row.cell.meta_batch > 0), time_key):
        groups.setdefault(_key(bundle.cell), []).append(bundle)
    found = [_line(group) for group in groups.values() if any(b.step and processes(b.cell) == 1 for b in group)]
    return sorted(found, key=lambda line: order(line.cell))


def _key(cell: Cell) -> tuple[Any, ...]:
    return axes_but(cell, "seed", "measure", "world_size", "meta_batch", *TRAINING_AXES)


def _line(group: Sequence[Bundle]) -> Line:
    alone = {int(b.cell.meta_batch): b for b in group if processes(b.cell) == 1}
    largest = alone[max(size for size, b in alone.items() if b.step)]
    numbers = {number for b in alone.values() for number in b.samples}
    times = {n: {float(size): median(b.samples[n]) for size, b in alone.items() if n in b.samples} for n in numbers}
    peaks = {float(size): float(b.peak.bytes) for size, b in alone.items() if b.peak and b.peak.bytes}
    counted = {size: found for size, b in alone.items() if (found := _counted(b.rows))}
    calls = fit({0: {float(size): float(one.calls or 0) for size, one in counted.items()}}) if counted else None
    direction = float((largest.parameters or 0) * (8 if largest.cell.precision == "float64" else 4))
    work = None
    if calls:
        size, one = max(counted.items())
        work = Work(one.flops / size, (one.bytes or 0) / size, calls.fixed.value, calls.each.value, direction)
    return Line(
        largest.cell,
        fit(times) if times else None,
        fit({0: peaks}) if peaks else None,
        work,
        direction,
        fit_drawing(group),
        tuple(_reached(alone)),
        tuple(_shared(sorted(group, key=lambda b: (processes(b.cell), b.cell.meta_batch)))),
        ids_of(group),
    )


def fit_drawing(group: Iterable[Bundle]) -> Drawing:
    """By least squares of relative errors, of each cell's least: other programs can only make drawing take longer.

    A task passed over is taken to be made where no process was seen to.
    """
    rows, seconds = [], []
    for bundle in group:
        if found := [drawn for row in sound_rows(bundle.rows) if (drawn := _sampled(row)) >= SHORTEST_S]:
            tasks = int(bundle.cell.meta_batch)
            own = tasks // processes(bundle.cell)  # of the leading one, which has fewest
            rows.append((1, own, tasks - own))
            seconds.append(min(found))
    if not rows:
        return Drawing(0.0, 0.0, 0.0)
    fixed, own_s, other_s = _parts(rows, seconds)
    return Drawing(fixed, own_s, other_s if any(other for *_, other in rows) else own_s)


def _sampled(row: Measurement) -> float:
    return row.time.sampling.median if row.time and row.time.sampling else 0.0


def _counted(rows: Sequence[Measurement]) -> record.Work | None:
    """The operations, bytes and calls of a cell, where all are known."""
    works = [row.work for row in sound_rows(rows) if row.work]
    return next((work for work in works if work.flops and work.bytes and work.calls), None)


def _reached(alone: Mapping[int, Bundle]) -> Iterable[Counted]:
    for size, bundle in sorted(alone.items()):
        work = _counted(bundle.rows)
        if bundle.step and work and work.bytes and work.calls and work.peaks.bandwidth:
            peak = max(work.peaks.matmul, work.peaks.convolution)
            figures = work.flops, work.bytes, work.calls, peak, work.peaks.bandwidth
            yield Counted(size, bundle.step, *figures, bundle.ids)


def _shared(group: Iterable[Bundle]) -> Iterable[Shared]:
    for bundle in group:
        times = [row.time for row in sound_rows(bundle.rows) if row.time]
        spent = [seconds for time in times if (seconds := time.communication_s or 0.0) >= SHORTEST_S]
        if processes(bundle.cell) > 1 and bundle.step and spent:
            tasks = int(bundle.cell.meta_batch)
            yield Shared(processes(bundle.cell), tasks, bundle.step, median(spent), bundle.ids)


@dataclass(frozen=True)
class Network:
    """What processes of the measured machine spend on each other, fitted to what they spent."""

    link: Link
    wait: float
    """A share of compute."""

    def seconds(self, line: Line, shared: Shared) -> float:
        """Of an iteration, the wait for the slowest included."""
        moved = ring(shared.processes, line.direction_bytes, self.link)
        return moved + self.wait * line.compute(shared.own_tasks)


def fit_network(observed: Sequence[tuple[Line, Shared]]) -> Network | None:
    """Latency, bandwidth and wait, none below 0, by least squares of relative errors; None without observations.

    Fitted to the seconds spent in the all-reduce alone, never to the time of a step.
    """
    if not observed:
        return None
    rows = []
    for line, shared in observed:
        steps = 2 * (shared.processes - 1)
        rows.append((steps, steps / shared.processes * line.direction_bytes, line.compute(shared.own_tasks)))
    latency, each_byte, wait = _parts(rows, [shared.communication_s for _, shared in observed])
    return Network(Link(latency, 1 / each_byte if each_byte else float("inf")), wait)


def _parts(rows: Sequence[tuple[float, ...]], seconds: Sequence[float]) -> list[float]:
    """What each column of `rows` takes, none less than 0, by least squares of errors relative to the seconds."""
    design = np.array(rows) / np.array(seconds)[:, None]
    scale = np.abs(design).max(0)
    scale[scale == 0] = 1.0
    found, _ = nnls(design / scale, np.ones(len(rows)))
    return [float(value) for value in found / scale]


@dataclass(frozen=True)
class Check:
    """A measured step of several processes, and what the model says of it without having seen it."""

    line: Line
    shared: Shared
    compute: float
    communication: float

    @property
    def predicted(self) -> float:
        """Seconds of a step."""
        return self.compute + self.communication

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured."""
        return self.predicted / self.shared.step.value - 1


def checks(found: Sequence[Line]) -> list[Check]:
    """Each measured cell of several processes, predicted from cells of one and from all other communication."""
    observed = [(line, shared) for line in found if line.time for shared in line.shared]
    made = []
    for at, (line, shared) in enumerate(observed):
        network = fit_network([*observed[:at], *observed[at + 1 :]])
        if network:
            made.append(Check(line, shared, line.compute(shared.own_tasks), network.seconds(line, shared)))
    return made
