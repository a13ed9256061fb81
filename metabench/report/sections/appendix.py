"""All rows of a run as one table: what the rows of all other tables stand on."""

from collections.abc import Callable, Sequence

from metabench.record.cell import varying
from metabench.record.measurement import Measurement
from metabench.report.bundles import order
from metabench.report.numbers import NOTHING, bytes_text, quality_text, time_text
from metabench.report.render.tables import Table, axis_word
from metabench.report.results import Run
from metabench.report.scores import score_of
from metabench.report.sections.base import Column, table_of
from metabench.report.sections.device import (
    busy_text,
    device_work,
    energy_text,
    instructions_of,
    instructions_text,
    joules,
    launches_text,
)
from metabench.statistics.ratios import step_interval
from metabench.statistics.spread import Spread

FIRST = ("algorithm", "engine")


def rows_table(run: Run) -> Table:
    """A row for each cell and round, those of the noise floor last; axes on which all rows agree stand in the notes."""
    cells = sorted(run.measurements, key=lambda row: (order(row.cell), row.id, row.round))
    rows = [*cells, *run.noise_rows]
    axes = list(dict.fromkeys(axis for row in rows for axis in row.cell.axes if axis not in FIRST))
    changing = varying([row.cell for row in rows], axes)
    columns: list[Column[Measurement]] = [
        Column("id", lambda row: row.id),
        Column("round", _round),
        Column("status", lambda row: row.status),
        *(Column(axis_word(axis), _value(axis)) for axis in (*FIRST, *changing)),
        Column("step time", lambda row: _time(row, run.noise), droppable=True),
        Column("launches", lambda row: launches_text(device_work([row])), droppable=True),
        Column("busy", lambda row: busy_text(device_work([row])), droppable=True),
        Column("energy", lambda row: energy_text(joules([row])), droppable=True),
        Column("instructions", lambda row: instructions_text(instructions_of([row])), droppable=True),
        Column("tracked peak", _peak, droppable=True),
        Column("quality", _quality, droppable=True),
        Column("reason", lambda row: row.reason or "", droppable=True),
    ]
    title = f"All {len(rows)} rows"
    says = "A row is one configuration in one repetition, as in results.csv, with the 95 % interval of one process."
    notes = _fixed(rows, [axis for axis in axes if axis not in changing])
    return table_of(title, says, columns, rows, lambda row: (row.id,), notes, marks={})


def _round(row: Measurement) -> str:
    noise = row.noise
    return f"noise {noise.pair}{noise.side}" if noise else str(row.round)


def _value(axis: str) -> Callable[[Measurement], str]:
    return lambda row: str(row.cell[axis])


def _time(row: Measurement, noise: Spread | None) -> str:
    return time_text(step_interval(row.time.step, noise)) if row.time else NOTHING


def _peak(row: Measurement) -> str:
    return NOTHING if row.memory is None or row.memory.tracked_bytes is None else bytes_text(row.memory.tracked_bytes)


def _quality(row: Measurement) -> str:
    return quality_text(score_of(row.quality), row.quality.metric) if row.quality else NOTHING


def _fixed(rows: Sequence[Measurement], axes: Sequence[str]) -> list[str]:
    values = {axis: row.cell[axis] for row in rows for axis in axes}
    words = [f"{axis_word(axis)} {value}" for axis, value in values.items() if value != ""]  # most runs name no machine
    return [f"The same in all rows: {', '.join(words)}."] if words else []
