"""Compares predictions for one device with the steps that were measured on one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any

from metabench.errors import UserError
from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import MeasuredLine
from metabench.forecast.model import Forecast, forecast
from metabench.forecast.text import MEASURED_AXES, SETTING_AXES, in_short, time_span, two
from metabench.record.cell import Cell, varying
from metabench.report.axes import TRAINING_AXES
from metabench.report.bundles import axes_but, order
from metabench.report.numbers import Valued, duration_text, time_text
from metabench.report.render.tables import Table, axis_word, setting
from metabench.report.results import Run
from metabench.statistics.intervals import Interval

WORK_AXES = ("seed", "world_size", "meta_batch", "device", "threads", "machine", "precision", *TRAINING_AXES)
"""Axes on which cells may differ whose operations, bytes and calls follow from each other."""
ALIKE = {"tf32": "float32"}
"""Precisions whose numbers have as many bytes as those of another."""


@dataclass(frozen=True)
class Compared:
    """A step measured on one device, and what was predicted for it."""

    cell: Cell
    predicted: Forecast
    calls: float
    flops: float
    peak: float
    """Operations per second by the data sheet."""
    step: Interval
    noisy: bool
    ids: tuple[str, ...]

    @property
    def by_middle(self) -> float:
        """The measured time over the geometric middle of the predicted range."""
        return self.step.value / sqrt(self.predicted.step.low * self.predicted.step.high)

    @property
    def beyond(self) -> float:
        """The measured time over the nearest end of the predicted range; 1 within it."""
        low, high = self.predicted.step.low, self.predicted.step.high
        return self.step.value / min(max(self.step.value, low), high)


def compare_with(runs: Iterable[Run], counted: Sequence[MeasuredLine], hardware: Hardware) -> list[Compared]:
    """Every timed cell of one process whose work `counted` has, in the order of other tables.

    Raises `UserError` where there is none.
    """
    runs = list(runs)
    by_work = {work_key(line.cell): line for line in counted if line.work}
    found = [compared for run in runs for compared in _compared(run, by_work, hardware)]
    if runs and not found:
        raise UserError(f"no step that was timed in {_names(runs)} is of a configuration whose work was counted")
    return sorted(found, key=lambda compared: (compared.cell.model, order(compared.cell)))


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(f"'{run.name}'" for run in runs)


def work_key(cell: Cell) -> tuple[Any, ...]:
    """A key that is equal for cells whose work follows from each other, by the number of tasks."""
    return (*axes_but(cell, *WORK_AXES), ALIKE.get(cell.precision, cell.precision))


def _compared(run: Run, by_work: dict[tuple[Any, ...], MeasuredLine], hardware: Hardware) -> Iterator[Compared]:
    for bundle in run.timed:
        cell, line = bundle.cell, by_work.get(work_key(bundle.cell))
        if line and line.work and bundle.step and cell.world_size == 1 and hardware.has_peak(cell.precision):
            tasks = cell.meta_batch
            predicted = forecast(line.work, tasks, 1, tasks, hardware.choices(cell.precision))
            ids = tuple(sorted({*bundle.ids, *line.ids}))
            peak = hardware.assumed[f"peak_{cell.precision}"].low
            calls, flops = line.work.calls(tasks), line.work.flops * tasks
            yield Compared(cell, predicted, calls, flops, peak, bundle.step, bundle.noisy, ids)


def comparison_tables(found: Sequence[Compared], hardware: Hardware, data: Mapping[str, str]) -> Iterator[Table]:
    """Every compared step in one table; none where nothing was compared."""
    if not found:
        return
    cells = [one.cell for one in found]
    differing = varying(cells, (*SETTING_AXES, "meta_batch"))
    axes = [axis for axis in differing if axis != "meta_batch"]
    fixed = [axis for axis in MEASURED_AXES if axis not in differing and axis != "threads"]
    body = tuple(
        (
            one.cell.implementation,
            *(str(one.cell[axis]) for axis in axes),
            str(one.cell.meta_batch),
            f"{one.calls:.0f}",
            time_span(one.predicted.step),
            " or ".join(one.predicted.limits),
            time_text(one.step) + (" (noisy)" if one.noisy else ""),
            "within" if one.beyond == 1 else Valued(f"{two(one.beyond)} times", one.beyond),
            Valued(f"{two(one.by_middle)} times", one.by_middle),
            duration_text(one.step.value / one.calls),
            f"{two(100 * one.flops / one.step.value / one.peak)} %",
        )
        for one in found
    )
    columns = (
        *("implementation", *map(axis_word, axes), "tasks", "calls", "step time", "limited by"),
        *("step time, measured", "by the nearest end", "by the middle", "time a call, measured"),
        "share of the peak, measured",
    )
    notes = (
        "by the nearest end: the measured time over the nearest end of the predicted range; by the middle: over its "
        "geometric middle.",
        "time a call: the whole step by its operator calls; share of the peak: of that of the data sheet. Both "
        "stand on counts of the machine that is predicted from.",
        in_short(hardware, cells[0].precision),
    )
    yield Table(
        f"Predicted and measured on {hardware.title.split(',')[0]}: {setting(cells[0], fixed, data)}",
        "A step of one device, predicted from counted work alone, and as it was measured on one.",
        columns,
        body,
        notes,
        tuple(one.ids for one in found),
    )


def comparison_verdict(found: Sequence[Compared]) -> str:
    """How well the predicted ranges did, in a sentence."""
    within = sum(one.beyond == 1 for one in found)
    width = median(one.predicted.step.high / one.predicted.step.low for one in found)
    by_middle = sorted(one.by_middle for one in found)
    return (
        f"{within} of {len(found)} measured steps lie within their range, whose upper end is {two(width)} times the "
        f"lower one in the median; they take {two(by_middle[0])} to {two(by_middle[-1])} times its geometric middle"
    )
