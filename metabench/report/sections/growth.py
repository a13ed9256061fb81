"""How time and memory grow with inner steps, model size and meta-batch size, all else equal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from metabench.report.axes import LINE_TECHNIQUES, MACHINE, SIZES, TASK, in_title_order
from metabench.report.bundles import Bundle, by_cost, ids_of, is_partial, telling_apart
from metabench.report.numbers import NOTHING
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import (
    PARTIAL,
    Column,
    HasBundle,
    axis_columns,
    section,
    table_of,
    technique_columns,
)
from metabench.report.sections.columns import (
    memory_notes,
    memory_ratio,
    peak_text,
    status_or_nothing,
    step_text,
    time_ratio,
)

CONSTANT = "constant"
"""What exact figures do that do not change."""
GROWING = {"inner_steps": "inner steps", "model": "model size", "meta_batch": "meta-batch size"}
TITLE = in_title_order((*TASK, *SIZES, "precision", *MACHINE))

AxisValue: TypeAlias = str | int
GrowthLine: TypeAlias = Mapping[AxisValue, Bundle]
"""The cells of one algorithm on one engine by their value of the axis that grows."""


@dataclass(frozen=True)
class _Measure:
    """Something that grows."""

    name: str
    says: str
    text: Callable[[Bundle], str]
    """The figure of a bundle, `NOTHING` without one."""
    ratio: Callable[[Bundle, Bundle], str]


@dataclass(frozen=True)
class _Row:
    bundle: Bundle
    line: GrowthLine


@section("Growth", place=50)
def growth_tables(run: Run) -> Iterator[Table]:
    """A table of times and one of memory for each axis and setting with a line of two values or more."""
    for axis, lines in growing_lines(run):
        for measure in _measures(lines, run):
            asked = [{v: one for v, one in line.items() if one.asked_for(measure.name.lower())} for line in lines]
            if shown := [line for line in asked if len(line) > 1]:
                yield _table(measure, shown, axis, run)


def growing_lines(run: Run) -> Iterator[tuple[str, list[GrowthLine]]]:
    """Each axis that grows, with the lines of two values or more of one setting, in the order of their algorithms."""
    for axis in GROWING:
        for group in by_cost(run.timed, axis, "algorithm", "engine", "outer", *LINE_TECHNIQUES):
            lines = [{one.cell[axis]: one for one in line} for line in by_cost(group, axis) if len(line) > 1]
            if lines:
                # the bundles come sizes first, which would put a line without the smallest size last
                yield axis, sorted(lines, key=lambda line: min(bundle.rank for bundle in line.values()))


def growing_setting(axis: str, lines: Sequence[GrowthLine], data: Mapping[str, str]) -> str:
    """What all of the lines have in common, as a phrase."""
    return setting(first(lines[0]).cell, [name for name in TITLE if name != axis], data)


def first(line: GrowthLine) -> Bundle:
    """The bundle that stands for a line: equal to the others but for what grows."""
    return next(iter(line.values()))


def line_columns(lines: Sequence[HasBundle]) -> list[Column[HasBundle]]:
    """The columns that name the lines; the outer optimiser is shown only where it tells two of them apart."""
    cells = [line.bundle.cell for line in lines]
    outer = telling_apart(cells, ("algorithm", "engine", *LINE_TECHNIQUES), ("outer",))
    return [*axis_columns("algorithm", "engine", *outer), *technique_columns(cells, LINE_TECHNIQUES)]


def _measures(lines: Sequence[GrowthLine], run: Run) -> Iterator[_Measure]:
    says = "Time of one meta-iteration with its 95 % interval."
    yield _Measure("Time", says, step_text, time_ratio)
    for says in memory_notes([bundle for line in lines for bundle in line.values()]):
        yield _Measure("Memory", says, peak_text, memory_ratio)


def _table(measure: _Measure, lines: Sequence[GrowthLine], axis: str, run: Run) -> Table:
    sizes = run.model_sizes

    def size(value: AxisValue) -> tuple[float, str]:
        return (sizes.get(value, float("inf")), value) if isinstance(value, str) else (value, "")

    def at(value: AxisValue) -> Column[_Row]:
        count = f" ({sizes[value]:,})" if isinstance(value, str) and value in sizes else ""
        return Column(
            f"{value}{count}",
            lambda row: _entry(row.line[value], measure) if value in row.line else "",
            cost=lambda row: row.line[value].cell if value in row.line else None,
        )

    rows = [_Row(first(line), line) for line in lines]
    values = sorted({value for line in lines for value in line}, key=size)
    growth = Column[_Row]("growth", lambda row: _growth(row.line, values, measure))
    notes = [f"growth: the figure at {values[-1]} over the one at {values[0]}, or as stated."]
    if axis == "model":
        notes.append("In brackets: meta-parameters, of the algorithm that has the fewest.")
    return table_of(
        f"{measure.name} with {GROWING[axis]}: {growing_setting(axis, lines, run.data_names)}",
        measure.says,
        [*line_columns(rows), *map(at, values), growth],
        rows,
        lambda row: ids_of(row.line.values()),
        notes,
    )


def _entry(bundle: Bundle, measure: _Measure) -> str:
    """A figure, or the word of what happened instead."""
    text = measure.text(bundle)
    if text == NOTHING:
        return status_or_nothing(bundle)
    return text + PARTIAL if is_partial(bundle) else text


def _growth(line: GrowthLine, values: Sequence[AxisValue], measure: _Measure) -> str:
    """The ratio of the ends of a line, of what has figures; says which ends, if not those of the table."""
    ends = [value for value in values if value in line and measure.text(line[value]) != NOTHING]
    if len(ends) < 2:
        return NOTHING
    small, large = ends[0], ends[-1]
    peaks = {peak.bytes for value in ends if (peak := line[value].peak)}
    flat = measure.name == "Memory" and len(peaks) == 1
    ratio = CONSTANT if flat else measure.ratio(line[large], line[small])
    return ratio if (small, large) == (values[0], values[-1]) else ratio + f" ({small} to {large})"
