"""What a cell would have needed whose memory did not suffice: foreseen from smaller cells, with how far that misses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, ids_of, model_sizes, status
from metabench.report.numbers import NOTHING, bytes_text
from metabench.report.render.tables import Section, Table, setting, technique_text
from metabench.report.sections.growth import GROWING, SETTING_AXES, Line, growing_lines
from metabench.report.sections.scaling import sizes_of

LACKING = ("oom", "skipped")
NOTES = (
    "Foreseen: the straight line through the two largest sizes that were measured, all else equal.",
    "Missed by: the most by which the same line misses a measured size, from the two before it.",
)


@dataclass(frozen=True)
class Needed:
    """A cell without the memory, and the line of cells that it lies on."""

    bundle: Bundle
    axis: str
    bytes: float
    foreseen_from: tuple[Bundle, ...]
    missed: float | None
    """The largest relative error of the same prediction for sizes that were measured; None for fewer than three."""


def needed_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """A table of the cells that ended for want of memory and lie on a line with two measured sizes or more."""
    found = sorted(needs(rows), key=lambda one: (one.bundle.rank, one.bytes))
    body = tuple(
        (
            f"{one.bundle.algorithm}/{one.bundle.cell.engine}",
            technique_text(one.bundle.cell),
            setting(one.bundle.cell, SETTING_AXES, data),
            status(one.bundle),
            bytes_text(round(one.bytes)),
            NOTHING if one.missed is None else f"{100 * one.missed:.2g} %",
            f"{GROWING[one.axis]}: {', '.join(str(bundle.cell[one.axis]) for bundle in one.foreseen_from)}",
        )
        for one in found
    )
    columns = ("implementation", "technique", "setting", "status", "foreseen", "missed by", "from")
    says = "Peak memory that these cells would have taken, of live tensor bytes in one meta-iteration."
    cells = tuple(ids_of((one.bundle, *one.foreseen_from)) for one in found)
    table = Table("Memory that was not there", says, columns, body, NOTES, cells)
    return Section("Memory that was not there", (table,) if body else ())


def needs(rows: Sequence[Measurement]) -> list[Needed]:
    """One for each such cell, from the line with most measured sizes."""
    sizes = model_sizes(rows)
    best: dict[tuple[str, ...], Needed] = {}
    for axis, lines in growing_lines(rows):
        for line in lines:
            for one in _needs(axis, line, sizes):
                before = best.get(one.bundle.ids)
                if before is None or len(one.foreseen_from) > len(before.foreseen_from):
                    best[one.bundle.ids] = one
    return list(best.values())


def _needs(axis: str, line: Line, sizes: Mapping[str, int]) -> Iterator[Needed]:
    measured = {sizes_of(axis, value, sizes): bundle for value, bundle in line.items() if bundle.peak}
    points = [(size, float(bundle.peak.bytes)) for size, bundle in sorted(measured.items()) if bundle.peak and size]
    methods = {bundle.peak.method for bundle in measured.values() if bundle.peak}
    if len(points) < 2 or len(methods) > 1 or 0 in dict(points).values():
        return
    missed = [abs(_foreseen(points[:i], points[i][0]) / points[i][1] - 1) for i in range(2, len(points))]
    for value, bundle in line.items():
        size = sizes_of(axis, value, sizes)
        if size > points[-1][0] and not bundle.peak and status(bundle).split(" ")[0] in LACKING:
            wanted = _foreseen(points, size)
            yield Needed(bundle, axis, wanted, tuple(measured[size] for size, _ in points), max(missed, default=None))


def _foreseen(points: Sequence[tuple[float, float]], size: float) -> float:
    """On the straight line through the last two points."""
    (x, y), (further, higher) = points[-2:]
    return higher + (higher - y) / (further - x) * (size - further)
