"""What bounds a meta-iteration on a GPU, and what energy it takes, for all engines beside each other."""

from collections.abc import Callable, Iterator, Sequence

from metabench.report.bundles import Bundle, ids_of
from metabench.report.numbers import NOTHING, Valued
from metabench.report.render.tables import Table
from metabench.report.results import Run
from metabench.report.sections.base import section, table_of
from metabench.report.sections.device import (
    busy_text,
    device_work,
    energy_notes,
    energy_text,
    joules,
    launches_notes,
    launches_text,
)
from metabench.report.sections.engines import ENGINE, EngineLine, Layout, Point, layouts

SAYS = (
    "Launches: how often the host puts work on the GPU in one meta-iteration. Busy: the share of its time in which the "
    "GPU works."
)


@section("What bounds a step", place=90)
def bounds_tables(run: Run) -> Iterator[Table]:
    """Tables for each setting in which engines are compared and these were measured; none for most processors."""
    for layout in layouts(run):
        bundles = [bundle for line in layout.lines for bundle in line.at.values()]
        rows = [row for bundle in bundles for row in bundle.sound]
        if any(device_work(bundle.sound) for bundle in bundles):
            only = "launches and busy share"
            yield _table("What bounds a step", SAYS, layout, only, _launches, launches_notes(rows))
        if any(joules(bundle.sound) is not None for bundle in bundles):
            says = "Energy of one meta-iteration."
            yield _table(
                "Energy", says, layout, "energy", lambda one: energy_text(joules(one.sound)), energy_notes(rows)
            )


def _table(
    title: str, says: str, layout: Layout, only: str, text: Callable[[Bundle], str], notes: Sequence[str]
) -> Table:
    def figure(line: EngineLine, point: Point) -> str:
        return text(line.at[point])

    columns = layout.columns(figure, ENGINE, only=only)
    return table_of(
        f"{title}: {layout.where}", says, columns, layout.lines, lambda line: ids_of(line.at.values()), notes
    )


def _launches(bundle: Bundle) -> str:
    work = device_work(bundle.sound)
    if work is None:
        return NOTHING
    busy = f", busy {busy_text(work)}" if work.busy_share is not None else ""
    return Valued(f"{launches_text(work)} launches{busy}", work.launches)
