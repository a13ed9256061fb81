"""Machines: one piece of work on several of them, side by side."""

from collections.abc import Iterator, Mapping, Sequence

from metabench.record.cell import varying
from metabench.record.measurement import Measurement
from metabench.report.axes import MACHINE, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import Bundle, by_cost, ids_of
from metabench.report.numbers import NOTHING
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.report.sections.columns import step_text

TITLE = in_title_order((*TASK, *SIZES, *TECHNIQUES, *MACHINE), but=("machine",))
SAYS = (
    "Times of one meta-iteration. Machines were not measured in pairs, and threads, device and versions may differ as "
    "much as the processor."
)


def machines_of(rows: Sequence[Measurement]) -> list[str]:
    """The machines of a merged run, in the order in which it was merged; empty for any other run."""
    return list(dict.fromkeys(row.cell.machine for row in rows if row.cell.machine))


def works_on_machines(run: Run) -> list[dict[str, Bundle]]:
    """The bundles of each piece of work that was timed on several machines, by machine."""
    found = [bundle for bundle in run.timed if bundle.cell.machine]
    works = by_cost(found, "machine", "device", "threads")
    # of several on one machine, the first
    by_machine = [{bundle.cell.machine: bundle for bundle in reversed(work)} for work in works]
    return [work for work in by_machine if sum(bundle.step is not None for bundle in work.values()) > 1]


@section("Machines", place=120)
def machines_tables(run: Run) -> Iterator[Table]:
    """A column for each machine; nothing for a run of one."""
    columns: list[Column[Mapping[str, Bundle]]] = [
        Column("implementation", lambda work: next(iter(work.values())).cell.implementation),
        Column("setting", lambda work: _setting(work, run)),
        *map(_time_on, machines_of(run.measurements)),
    ]
    if works := works_on_machines(run):
        title = "The same work on several machines"
        yield table_of(title, SAYS, columns, works, lambda work: ids_of(work.values()))


def _setting(work: Mapping[str, Bundle], run: Run) -> str:
    """What they have in common."""
    cells = [bundle.cell for bundle in work.values()]
    different = varying(cells, TITLE)
    return setting(cells[0], [axis for axis in TITLE if axis not in different], run.data_names)


def _time_on(machine: str) -> Column[Mapping[str, Bundle]]:
    return Column(machine, lambda work: step_text(work[machine]) if machine in work else NOTHING)
