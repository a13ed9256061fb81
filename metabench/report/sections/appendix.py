"""All rows of a run as one table: what the rows of all other tables stand on."""

from collections.abc import Sequence

from metabench.record.measurement import Measurement
from metabench.report.bundles import order, varying
from metabench.report.numbers import NOTHING, bytes_text, quality_text, time_text
from metabench.report.render.tables import Table, axis_word, without_empty_columns
from metabench.report.results import Run
from metabench.report.sections.device import TITLES, device_columns
from metabench.statistics.ratios import Interval

FIRST = ("algorithm", "engine")
FIGURES = ("step time", *TITLES, "tracked peak", "quality", "reason")


def rows_table(run: Run) -> Table:
    """A row for each cell and round, those of the noise floor last; axes on which all rows agree stand in the notes."""
    cells = sorted(run.measurements, key=lambda row: (order(row.cell), row.id, row.round))
    rows = [*cells, *run.references]
    axes = list(dict.fromkeys(axis for row in rows for axis in row.cell.axes))
    changing = [axis for axis in varying([row.cell for row in rows], axes) if axis not in FIRST]
    columns = ("id", "round", "status", *FIRST, *map(axis_word, changing), *FIGURES)
    body = [_texts(row, changing) for row in rows]
    kept, shown = without_empty_columns(columns, body, FIGURES)
    return Table(
        f"All {len(rows)} rows",
        "One cell in one round each, as in results.csv, with the 95 % interval of its own process.",
        kept,
        shown,
        tuple(_fixed(rows, [axis for axis in axes if axis not in (*FIRST, *changing)])),
        tuple((str(row.id),) for row in rows),
    )


def _texts(row: Measurement, changing: Sequence[str]) -> tuple[str, ...]:
    step, quality = row.time and row.time.step, row.quality
    peak = row.memory.tracked_bytes if row.memory else None
    noise = row.noise
    return (
        str(row.id),
        f"noise {noise.pair}{noise.side}" if noise else str(row.round),
        str(row.status),
        *(str(row.cell[axis]) for axis in (*FIRST, *changing)),
        time_text(Interval(step.median, step.low, step.high)) if step else NOTHING,
        *(text(row) for _, text in device_columns(_alone)),
        bytes_text(peak) if peak is not None else NOTHING,
        quality_text(Interval(quality.value, quality.low, quality.high), quality.metric) if quality else NOTHING,
        str(row.reason or ""),
    )


def _alone(row: Measurement) -> list[Measurement]:
    return [row]


def _fixed(rows: Sequence[Measurement], axes: Sequence[str]) -> list[str]:
    words = [f"{axis_word(axis)} {rows[0].cell[axis]}" for axis in axes]
    return [f"The same in all rows: {', '.join(words)}."] if words else []
