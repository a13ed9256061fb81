"""What several processes gain: the same meta-batch shared by more of them, and more tasks for more of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    axes_but,
    bundles,
    ids_of,
    order,
    sound_rows,
    status_and_reason,
    time_key,
)
from metabench.report.noise import NoiseFloor, ratio_text, same_notes
from metabench.report.numbers import NOTHING, Valued, bytes_text, with_interval
from metabench.report.render.tables import Section, Table, setting, without_empty_columns
from metabench.report.sections.cost import step_text
from metabench.statistics.ratios import Ratio, ratio_interval

SETTING_AXES = (
    *("task", "ways", "shots", "model", "query", "train_ways", "train_shots", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "machine", "first_order", "checkpoint", "inner_optimizer", "outer_clip"),
)
COLUMNS = ("implementation", "processes", "tasks", "status", "step time")
MEASURED = ("speed-up", "efficiency", "communication", "memory")
NOTES = (
    "Communication: the share of an iteration that a process spends in the all-reduce of directions, the wait for the "
    "slowest included; memory: of the leading process.",
)


@dataclass(frozen=True)
class _Kind:
    """A way of adding processes."""

    title: str
    says: str
    own: tuple[str, ...]
    """The axes, beside the number of processes, that change along a line."""
    work: Callable[[Cell], float]
    """Equal for the cells of a line."""


STRONG = _Kind(
    "Strong scaling",
    "The same meta-batch shared by more processes. Speed-up over one process; efficiency: that by the number of them.",
    (),
    lambda cell: 1.0,
)
WEAK = _Kind(
    "Weak scaling",
    "As many tasks for each process. Speed-up: in tasks a second; efficiency: that by the number of processes.",
    ("meta_batch",),
    lambda cell: cell.meta_batch / processes(cell),
)


def processes(cell: Cell) -> int:
    """How many processes a cell has; a cell of one does not say."""
    return int(cell.world_size)


def parallel_section(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> Section:
    """A table of strong and one of weak scaling for each setting that was measured with one process and with more."""
    found = bundles(rows, time_key)
    tables = [table for kind in (STRONG, WEAK) for table in _tables(kind, found, data, floor)]
    return Section("Several processes", tuple(tables))


def _tables(kind: _Kind, found: Sequence[Bundle], data: Mapping[str, str], floor: NoiseFloor | None) -> Iterator[Table]:
    lines: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in found:
        key = (
            kind.work(bundle.cell),
            *axes_but(bundle.cell, "seed", "measure", "world_size", *kind.own, *TRAINING_AXES),
        )
        lines.setdefault(key, []).append(bundle)
    groups: dict[str, list[list[Bundle]]] = {}
    for line in lines.values():
        line.sort(key=lambda bundle: processes(bundle.cell))
        if processes(line[0].cell) == 1 < processes(line[-1].cell):
            where = setting(line[0].cell, [axis for axis in SETTING_AXES if axis not in kind.own], data)
            groups.setdefault(where, []).append(line)
    for where, group in groups.items():
        group.sort(key=lambda line: order(line[0].cell))
        body = [(*_labels(bundle), *_measured(bundle, line[0], kind, floor)) for line in group for bundle in line]
        columns, shown = without_empty_columns((*COLUMNS, *MEASURED), body, MEASURED)
        ids = tuple(ids_of((bundle, line[0])) for line in group for bundle in line)
        yield Table(f"{kind.title}: {where}", kind.says, columns, shown, (*same_notes(shown), *NOTES), ids)


def _labels(bundle: Bundle) -> tuple[str, ...]:
    name = f"{bundle.algorithm}/{bundle.cell.engine}"
    return (
        name,
        str(processes(bundle.cell)),
        str(bundle.cell.meta_batch),
        status_and_reason(bundle),
        step_text(bundle),
    )


def _measured(bundle: Bundle, one: Bundle, kind: _Kind, floor: NoiseFloor | None) -> tuple[str, ...]:
    speed_up, efficiency = NOTHING, NOTHING
    ratio = ratio_interval(one.samples, bundle.samples) if bundle is not one else None
    if ratio:
        more = bundle.cell.meta_batch / one.cell.meta_batch
        ratio = scaled(ratio, more)
        speed_up = ratio_text(ratio, floor)
        efficiency = with_interval(scaled(ratio, 100 / processes(bundle.cell))) + " %"
    share = communication(bundle)
    peak = bytes_text(bundle.peak.bytes) if bundle.peak else NOTHING
    return speed_up, efficiency, NOTHING if share is None else Valued(f"{100 * share:.0f} %", share), peak


def scaled(ratio: Ratio, factor: float) -> Ratio:
    """The ratio and its interval times a number."""
    return Ratio(factor * ratio.value, factor * ratio.low, factor * ratio.high, ratio.rounds)


def communication(bundle: Bundle) -> float | None:
    """The share of an iteration spent between processes: the median over rounds; None where there is one process."""
    times = [row.time for row in sound_rows(bundle.rows) if row.time]
    shares = [time.communication_s / time.step.median for time in times if time.communication_s]
    return min(1.0, median(shares)) if shares else None
