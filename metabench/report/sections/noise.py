"""The pairs that the noise floor of a run was learnt from."""

from collections.abc import Iterator, Sequence

from metabench.record.measurement import Measurement
from metabench.record.timing import Time
from metabench.report.axes import MACHINE, SIZES, TASK, in_title_order
from metabench.report.noise import by_cell, pairs_of
from metabench.report.numbers import NOTHING, duration_text, exact
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of

TITLE = in_title_order((*TASK, *SIZES, "engine", "precision", *MACHINE))


@section("Noise floor", place=130)
def noise_tables(run: Run) -> Iterator[Table]:
    """A table for each cell that was timed in pairs: one for each run that was merged."""
    for same in by_cell(run.noise_rows):
        if pairs_of(same):
            yield _table(same, run)


def _table(rows: Sequence[Measurement], run: Run) -> Table:
    cell = rows[0].cell
    columns: list[Column[tuple[Measurement, Measurement]]] = [
        Column("pair", lambda pair: str(pair[0].noise.pair if pair[0].noise else NOTHING)),
        Column("began", lambda pair: min(row.started for row in pair)),
        Column("time a", lambda pair: _time(pair[0].time)),
        Column("time b", lambda pair: _time(pair[1].time)),
        Column("a ÷ b", lambda pair: _ratio(pair[0].time, pair[1].time)),
    ]
    return table_of(
        f"Noise floor: {cell.algorithm}, {setting(cell, TITLE, run.data_names)}",
        "The same configuration timed in two processes, one right after the other, at intervals across the run.",
        columns,
        pairs_of(rows),
        lambda pair: (pair[0].id,),
    )


def _time(time: Time | None) -> str:
    return duration_text(time.step.median) if time else NOTHING


def _ratio(time: Time | None, other: Time | None) -> str:
    return exact(time.step.median / other.step.median) if time and other else NOTHING
