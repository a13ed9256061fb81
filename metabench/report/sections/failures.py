"""Every failure, with the whole reason."""

from collections.abc import Iterator, Sequence

from metabench.grouping import grouped
from metabench.record.cell import MEASURES
from metabench.record.measurement import Measurement
from metabench.report.axes import MACHINE, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.text import counted

TITLE = in_title_order(
    (*TASK, *SIZES, *TECHNIQUES, *MACHINE, "preset", "seed", "batch_norm", "eval_queries", "outer_warmup"),
    but=("threads",),
)
SAYS = (
    "What had been measured before a failure stands in the tables above, with a mark. A configuration that is "
    "incorrect in any repetition gives no figure."
)
WORDS = {"oom": "out of memory"}
"""How a reader calls a status."""


@section("Failures", place=1000)
def failures_tables(run: Run) -> Iterator[Table]:
    """One table, of all of them; repetitions that ended alike stand together."""
    bad = [row for row in run.measurements if row.status != "ok"]
    bad.sort(key=lambda row: (row.status, row.cell.algorithm, row.cell.engine, row.id, row.round))
    columns: list[Column[Sequence[Measurement]]] = [
        Column("implementation", lambda same: same[0].cell.implementation),
        Column("setting", lambda same: setting(same[0].cell, TITLE, run.data_names)),
        Column("repetitions", lambda same: ", ".join(str(row.round) for row in same)),
        Column("status", lambda same: _status(same[0])),
        Column("measured before", lambda same: _measured(same[0]), droppable=True),
        Column("reason", lambda same: _reason(same[0])),
        Column("id", lambda same: same[0].id),
    ]
    yield table_of(
        f"Failures: {len(bad) or 'none'} of {counted(len(run.measurements), 'measurement')}",
        SAYS if bad else "",
        columns,
        list(grouped(bad, lambda row: (row.id, row.status, _reason(row), _measured(row))).values()),
        lambda same: (same[0].id,),
        marks={},
    )


def _status(row: Measurement) -> str:
    """What happened, and in which phase if something had been measured before it."""
    status = WORDS.get(row.status, row.status)
    return f"{status} in {row.ended_in}" if row.ended_in and _measured(row) else status


def _measured(row: Measurement) -> str:
    """What a row has figures of."""
    return ", ".join(part for part in MEASURES if getattr(row, part))


def _reason(row: Measurement) -> str:
    return row.reason or "no reason was given"
