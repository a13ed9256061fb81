"""What a technique changes, all else equal: time, memory and quality against the same cell without it."""

from collections.abc import Iterator, Sequence
from typing import Any

from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.report.axes import MACHINE, METHOD_AXES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import Bundle, axes_but, order, time_key, values_of
from metabench.report.numbers import NOTHING
from metabench.report.render.tables import Table, setting, techniques
from metabench.report.results import Run
from metabench.report.sections.base import Column, differing_notes, labels, section, table_of
from metabench.report.sections.columns import (
    Line,
    compared_columns,
    contrast_column,
    judged,
    metric_word,
    score_text,
    seeds_text,
)

GROUP = in_title_order((*TASK, "model", *MACHINE))
"""Axes of which each combination of values has a table of its own."""


@section("Techniques", place=30)
def techniques_tables(run: Run) -> Iterator[Table]:
    """A table for each setting in which anything was measured both with a technique and without any."""
    trained = [bundle for bundle in run.trained if bundle.asked_for("quality")]
    by_cost = grouped(trained, lambda bundle: time_key(bundle.cell))
    without = {time_key(bundle.cell, *TECHNIQUES): bundle for bundle in run.timed if not techniques(bundle.cell)}
    lines = []
    for bundle in run.timed:
        if techniques(bundle.cell):
            for own in by_cost.get(time_key(bundle.cell), [bundle]):
                plain = without.get(time_key(bundle.cell, *TECHNIQUES))
                lines.append(Line(own, bundle, plain, rival=_same_without(own, trained)))
    for group in grouped(lines, lambda line: values_of(line.bundle.cell, GROUP)).values():
        if any(line.baseline for line in group):
            yield _table(sorted(group, key=_order), run)


def _order(line: Line) -> tuple[Any, ...]:
    return line.bundle.rank, techniques(line.bundle.cell), order(line.bundle.cell)


def _same_without(own: Bundle, trained: Sequence[Bundle]) -> Bundle | None:
    """The training that is the same but for techniques.

    Another inner optimiser has its own scale of rates, so there, and nowhere else, `inner_lr` may differ.
    """

    def training(cell: Cell, other: Cell) -> tuple[Any, ...]:
        free = () if cell.inner_optimizer == other.inner_optimizer else ("inner_lr",)
        return axes_but(cell, "seed", *TECHNIQUES, *free)

    others = [
        other
        for other in trained
        if not techniques(other.cell) and training(other.cell, own.cell) == training(own.cell, other.cell)
    ]
    return min(others, key=lambda other: other.cell.inner_lr != own.cell.inner_lr, default=None)


def _table(lines: Sequence[Line], run: Run) -> Table:
    cells = [line.bundle.cell for line in lines]
    named, fixed = labels(cells, GROUP, ("algorithm", "engine"), TECHNIQUES)
    columns: list[Column[Line]] = [
        *named,
        *compared_columns("without"),
        Column(metric_word(lines), score_text, droppable=True, score=judged),
        contrast_column("without", lines, paired=False),
        Column("seeds", lambda line: seeds_text(line) if line.quality else NOTHING, droppable=True),
    ]
    notes = differing_notes(cells, METHOD_AXES)
    if any(0 < cell.first_order < 1 for cell in cells):
        notes.append("Time and memory are of the last iteration: where first order ends earlier, of second order.")
    return table_of(
        f"Techniques: {setting(cells[0], (*GROUP, *fixed), run.data_names)}",
        "Compared with the same configuration without techniques; 95 % intervals; times are paired by repetition.",
        columns,
        lines,
        lambda line: line.ids,
        notes,
    )
