"""What bounds a meta-iteration on a GPU, and what energy it takes, for all engines beside each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, ids_of
from metabench.report.numbers import NOTHING, Valued
from metabench.report.render.tables import Section, Table
from metabench.report.sections.device import busy_text, device_notes, device_work, energy_text, joules, launches_text
from metabench.report.sections.engines import Layout, Line, Point, cells_of, layouts


def bounds_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """Tables for each setting in which engines are compared and these were measured; none for most processors."""
    return Section("What bounds a step", tuple(table for layout in layouts(rows, data) for table in _tables(layout)))


def _tables(layout: Layout) -> Iterator[Table]:
    bundles = [bundle for line in layout.lines for bundle in line.at.values()]
    sound = [row for bundle in bundles for row in bundle.sound]
    if any(device_work(bundle.sound) for bundle in bundles):
        yield _table(
            layout,
            "What bounds a step",
            "How often the host puts work on the GPU in one meta-iteration, and the share of its time in which the GPU "
            "is busy.",
            "launches and busy share",
            _launches,
            device_notes(replace(row, energy=None) for row in sound),
        )
    if any(joules(bundle.sound) is not None for bundle in bundles):
        yield _table(
            layout,
            "Energy",
            "Energy of one meta-iteration.",
            "energy",
            lambda bundle: energy_text(joules(bundle.sound)),
            device_notes(replace(row, launches=None) for row in sound),
        )


def _table(
    layout: Layout, title: str, says: str, column: str, text: Callable[[Bundle], str], notes: Sequence[str]
) -> Table:
    def figure(line: Line, point: Point) -> str:
        return text(line.at[point])

    return Table(
        f"{title}: {layout.where}",
        says,
        layout.columns("engine", only=column),
        tuple((*line.label, line.engine, *cells_of(line, layout.points, figure)) for line in layout.lines),
        tuple(notes),
        tuple(ids_of(line.at.values()) for line in layout.lines),
    )


def _launches(bundle: Bundle) -> str:
    work = device_work(bundle.sound)
    if work is None:
        return NOTHING
    busy = f", busy {busy_text(work)}" if work.busy_share is not None else ""
    return Valued(f"{launches_text(work)} launches{busy}", work.launches)
