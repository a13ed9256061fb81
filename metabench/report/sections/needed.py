"""Predicted memory of configurations that ran out of it: from smaller ones, with the error of the prediction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metabench.report.bundles import Bundle, ids_of, status
from metabench.report.numbers import NOTHING, bytes_text, percent
from metabench.report.render.tables import Table, setting, technique_text
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.report.sections.columns import IMPLEMENTATION
from metabench.report.sections.growth import GROWING, TITLE, GrowthLine, first, growing_lines
from metabench.report.sections.scaling import sizes_of

LACKING = ("oom", "skipped")
NOTES = (
    "Predicted by the straight line through the two largest sizes that were measured, all else equal.",
    "error: the largest error of the same prediction for a measured size, from the two sizes before it.",
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


@section("Memory needed", place=70)
def needed_tables(run: Run) -> Iterator[Table]:
    """A table of the cells that ended for want of memory and lie on a line with two measured sizes or more."""
    columns: list[Column[Needed]] = [
        IMPLEMENTATION,
        Column("technique", lambda one: technique_text(one.bundle.cell)),
        Column("setting", lambda one: setting(one.bundle.cell, TITLE, run.data_names)),
        Column("status", lambda one: status(one.bundle)),
        Column("predicted peak", lambda one: bytes_text(round(one.bytes))),
        Column("error", lambda one: NOTHING if one.missed is None else percent(one.missed)),
        Column("from", _from),
    ]
    if found := sorted(needs(run), key=lambda one: (one.bundle.rank, one.bytes)):
        yield table_of(
            "Memory needed by what ran out of it",
            "Predicted peak of live tensor bytes in one meta-iteration.",
            columns,
            found,
            lambda one: ids_of((one.bundle, *one.foreseen_from)),
            NOTES,
        )


def _from(one: Needed) -> str:
    return f"{GROWING[one.axis]}: {', '.join(str(bundle.cell[one.axis]) for bundle in one.foreseen_from)}"


def needs(run: Run) -> list[Needed]:
    """One for each such cell, from the line with most measured sizes."""
    best: dict[tuple[str, ...], Needed] = {}
    for axis, lines in growing_lines(run):
        for line in lines:
            for one in _needs(axis, line, run.model_sizes(first(line).cell)):
                before = best.get(one.bundle.ids)
                if before is None or len(one.foreseen_from) > len(before.foreseen_from):
                    best[one.bundle.ids] = one
    return list(best.values())


def _needs(axis: str, line: GrowthLine, sizes: Mapping[str, int]) -> Iterator[Needed]:
    measured = {sizes_of(axis, value, sizes): bundle for value, bundle in line.items() if bundle.peak}
    points = [(size, float(bundle.peak.bytes)) for size, bundle in sorted(measured.items()) if bundle.peak and size]
    kinds = {bundle.peak.kind for bundle in measured.values() if bundle.peak}
    if len(points) < 2 or len(kinds) > 1 or 0 in dict(points).values():
        return
    missed = [abs(_foreseen(points[:i], points[i][0]) / points[i][1] - 1) for i in range(2, len(points))]
    for value, bundle in line.items():
        size = sizes_of(axis, value, sizes)
        if size > points[-1][0] and not bundle.peak and _is_lacking(bundle):
            wanted = _foreseen(points, size)
            yield Needed(bundle, axis, wanted, tuple(measured[size] for size, _ in points), max(missed, default=None))


def _is_lacking(bundle: Bundle) -> bool:
    """Whether it was memory alone that ran out: its further rounds are skipped then."""
    return any(row.status in LACKING for row in bundle.rows) and {row.status for row in bundle.rows} <= {"ok", *LACKING}


def _foreseen(points: Sequence[tuple[float, float]], size: float) -> float:
    """The figure at `size` on the straight line through the last two points."""
    (x, y), (further, higher) = points[-2:]
    return higher + (higher - y) / (further - x) * (size - further)
