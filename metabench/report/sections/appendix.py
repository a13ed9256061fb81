"""All rows of a run as one table: what the rows of all other tables stand on."""

from collections.abc import Sequence
from typing import Any

from metabench.record.reading import Row
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
    cells = sorted(run.measurements, key=lambda row: (order(row["cell"]), row["id"], row["round"]))
    rows = [*cells, *run.references]
    axes = list(dict.fromkeys(axis for row in rows for axis in row["cell"] if axis != "measure"))
    changing = [axis for axis in varying([row["cell"] for row in rows], axes) if axis not in FIRST]
    columns = ("id", "round", "status", *FIRST, *map(axis_word, changing), *FIGURES)
    body = [_texts(row, changing) for row in rows]
    kept, shown = without_empty_columns(columns, body, FIGURES)
    return Table(
        f"All {len(rows)} rows",
        "One cell in one round each, as in results.csv, with the 95 % interval of its own process.",
        kept,
        shown,
        tuple(_fixed(rows, [axis for axis in axes if axis not in (*FIRST, *changing)])),
        tuple((str(row["id"]),) for row in rows),
    )


def _texts(row: Row, changing: Sequence[str]) -> tuple[str, ...]:
    step, memory = (row.get("time") or {}).get("step"), row.get("memory") or {}
    quality, peak = row.get("quality"), memory.get("tracked_bytes")
    reference = row.get("reference")
    return (
        str(row["id"]),
        f"reference {reference['pair']}{reference['side']}" if reference else str(row["round"]),
        str(row["status"]),
        *(str(row["cell"].get(axis, NOTHING)) for axis in (*FIRST, *changing)),
        time_text(_interval(step, "median")) if step else NOTHING,
        *(text(row) for _, text in device_columns(_alone)),
        bytes_text(peak) if peak is not None else NOTHING,
        quality_text(_interval(quality, "value"), quality["metric"]) if quality else NOTHING,
        str(row.get("reason") or ""),
    )


def _alone(row: Row) -> list[Row]:
    return [row]


def _interval(found: dict[str, Any], middle: str) -> Interval:
    return Interval(found[middle], found["low"], found["high"])


def _fixed(rows: Sequence[Row], axes: Sequence[str]) -> list[str]:
    words = [f"{axis_word(axis)} {rows[0]['cell'].get(axis, NOTHING)}" for axis in axes]
    return [f"The same in all rows: {', '.join(words)}."] if words else []
