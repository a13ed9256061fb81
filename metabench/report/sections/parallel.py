"""What several processes gain: the same meta-batch shared by more of them, and more tasks for more of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.report.axes import MACHINE, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import Bundle, order, time_key, time_ratio_of
from metabench.report.marks import disturbed_mark
from metabench.report.noise import ratio_text
from metabench.report.numbers import NOTHING, Valued, with_interval
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.report.sections.columns import IMPLEMENTATION, STATUS, STEP, Line, peak_text
from metabench.statistics.ratios import Ratio

TITLE = in_title_order((*TASK, *SIZES, *TECHNIQUES, *MACHINE), but=("world_size",))
NOTES = (
    "communication: the share of an iteration that a process spends in the all-reduce of meta-gradients, with the wait "
    "for the slowest process; memory: of the leading process.",
)


@dataclass(frozen=True)
class _Kind:
    """A way of adding processes."""

    title: str
    says: str
    own: tuple[str, ...]
    """The axes, beside the number of processes, that change along a line."""
    work: Callable[[Cell], float]
    """Function that is equal for the cells of a line."""


STRONG = _Kind(
    "Strong scaling",
    "The same meta-batch shared by more processes. Speed-up over one process; efficiency: speed-up ÷ processes.",
    (),
    lambda cell: 1.0,
)
WEAK = _Kind(
    "Weak scaling",
    "The same number of tasks for each process. Speed-up in tasks a second; efficiency: speed-up ÷ processes.",
    ("meta_batch",),
    lambda cell: cell.meta_batch / cell.world_size,
)


@section("Several processes", place=110)
def parallel_tables(run: Run) -> Iterator[Table]:
    """A table of strong and one of weak scaling for each setting that was measured with one process and with more."""
    for kind in (STRONG, WEAK):
        groups: dict[str, list[list[Bundle]]] = {}
        for line in _lines(kind, run):
            where = setting(line[0].cell, [axis for axis in TITLE if axis not in kind.own], run.data_names)
            groups.setdefault(where, []).append(line)
        for where, group in groups.items():
            group.sort(key=lambda line: order(line[0].cell))
            lines = [Line(bundle, bundle, line[0]) for line in group for bundle in line]
            yield table_of(f"{kind.title}: {where}", kind.says, _columns(), lines, lambda line: line.ids, NOTES)


def _lines(kind: _Kind, run: Run) -> Iterator[list[Bundle]]:
    """The bundles that differ in the number of processes, from one of them on."""

    def key(bundle: Bundle) -> tuple[Any, ...]:
        return kind.work(bundle.cell), time_key(bundle.cell, "world_size", *kind.own)

    for line in grouped(run.timed, key).values():
        line.sort(key=lambda bundle: bundle.cell.world_size)
        if line[0].cell.world_size == 1 < line[-1].cell.world_size:
            yield line


def speed_up(line: Line) -> Ratio | None:
    """Over one process, in tasks a second."""
    one = line.baseline
    ratio = time_ratio_of(one, line.bundle) if one and line.bundle is not one else None
    return scaled(ratio, line.bundle.cell.meta_batch / one.cell.meta_batch) if one and ratio else None


def _columns() -> list[Column[Line]]:
    def speed_up_text(line: Line) -> str:
        found, one = speed_up(line), line.baseline
        if not found or not one:
            return NOTHING
        return ratio_text(found, line.bundle.drift * one.drift) + disturbed_mark(line.bundle, one)

    def efficiency(line: Line) -> str:
        found = speed_up(line)
        return with_interval(scaled(found, 100 / line.bundle.cell.world_size)) + " %" if found else NOTHING

    return [
        IMPLEMENTATION,
        Column("processes", lambda line: str(line.bundle.cell.world_size)),
        Column("tasks", lambda line: str(line.bundle.cell.meta_batch), told=("meta_batch",)),
        STATUS,
        STEP,
        Column("speed-up", speed_up_text, droppable=True),
        Column("efficiency", efficiency, droppable=True),
        Column("communication", lambda line: _communication_text(line.bundle), droppable=True),
        Column("memory", lambda line: peak_text(line.bundle), droppable=True, cost=lambda line: line.bundle.cell),
    ]


def scaled(ratio: Ratio, factor: float) -> Ratio:
    """The ratio and its interval times a number."""
    return Ratio(factor * ratio.value, factor * ratio.low, factor * ratio.high, ratio.rounds)


def communication(bundle: Bundle) -> float | None:
    """The share of an iteration spent between processes: the median over rounds; None where there is one process."""
    times = [row.time for row in bundle.sound if row.time]
    shares = [time.communication_s / time.step.median for time in times if time.communication_s]
    return min(1.0, median(shares)) if shares else None


def _communication_text(bundle: Bundle) -> str:
    share = communication(bundle)
    return NOTHING if share is None else Valued(f"{100 * share:.0f} %", share)
