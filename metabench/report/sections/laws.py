"""How time and memory grow with inner steps, model size and meta-batch size, by which law, and what theory says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metabench.grouping import grouped
from metabench.record.cell import AXES, DISTRIBUTION, Cell, varying
from metabench.report.axes import LINE_TECHNIQUES, OWN_AXES, in_title_order
from metabench.report.bundles import Bundle, ids_of, is_partial, telling_apart
from metabench.report.marks import PARTIAL, disturbed_mark
from metabench.report.noise import DRIFTING
from metabench.report.numbers import NOTHING, time_text, trim
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import (
    Column,
    HasBundle,
    axis_columns,
    matched_axes,
    section,
    table_of,
    technique_columns,
)
from metabench.report.sections.columns import memory_notes, memory_ratio, peak_text, status_or_nothing, time_ratio
from metabench.report.sections.growth import GROWING, AxisValue, GrowthLine, first, growing_lines, title_axes
from metabench.report.sections.scaling import (
    MEASURES,
    SIZES,
    Measure,
    Scaling,
    amount_text,
    exponent_text,
    partly_notes,
    scaling_of,
    stands_on,
)
from metabench.statistics.laws import CLOSE, LEAST_EXPLAINED, LEFT, POINTS_TO_JUDGE, Law
from metabench.statistics.theory import ALIKE, ANOTHER, rises_straight

CONSTANT = "constant"
"""What exact figures do that do not change."""
NO_LAW = "no simple law fits"
TITLES = {"time": "Time", "memory": "Memory"}
NOTES = (
    "law: intercept a and slope b of value = a + b · size, or the exponent p of value = c · size^p. A power law is "
    f"reported where it passes all sizes, R² is at least {LEAST_EXPLAINED}, and no line with an intercept fits better.",
    "Any law passes two sizes: the line through them is reported.",
    f"{CONSTANT}: the same to the byte at all sizes. {NO_LAW}: a line and a power law both miss a size by more than "
    f"noise; of memory, by more than {100 * CLOSE:.0f} % of the growth or of the value. Last exponent: that between "
    "the two largest sizes.",
    f"leaves its law at: the first size at which the law of all smaller ones, three at least, misses the figure by "
    f"more than noise explains, and by more than {100 * LEFT:.0f} %; {NOTHING}: at none.",
    "theory: what is expected of large sizes. Intercept in per cent: of the value at the smallest size.",
    f"agrees: the exponent's interval holds the expected one and none {ANOTHER} away, or lies within {ALIKE} of it; or "
    f"linear growth is expected, and a line that rises passes all sizes, three at least, within {100 * CLOSE:.0f} % of "
    "the growth.",
    "differs: the interval leaves out the expected exponent, and no intercept explains it.",
)
INTERVALS = {
    "time": "95 % intervals of a law hold run-to-run noise, and how far it misses the figures, where that is more.",
    "memory": "Memory is exact: 95 % intervals of a law hold how far it misses the figures.",
}


@dataclass(frozen=True)
class Growing:
    """A row: a line in its setting, with its laws."""

    line: GrowthLine
    measure: Measure
    values: tuple[AxisValue, ...]
    """The values that any line of the setting has."""
    scaling: Scaling | None
    """The line's laws; None where fewer than two sizes have figures."""

    @property
    def bundle(self) -> Bundle:
        return first(self.line)


@section("Growth", place=50)
def growth_tables(run: Run) -> Iterator[Table]:
    """A table of times and one of memory for each machine and axis that has a line of two values or more."""
    notes: Sequence[str] = NOTES
    settings = grouped(growing_lines(run), lambda found: (first(found[1][0]).cell.machine, found[0]))
    for (_, axis), found in settings.items():
        for measure in MEASURES:
            groups = [made for _, lines in found if (made := _rows(axis, lines, measure, run))]
            if groups:
                yield _table(axis, measure, groups, run, notes)
                notes = ()  # once is enough


def _rows(axis: str, lines: Sequence[GrowthLine], measure: Measure, run: Run) -> list[Growing]:
    """A row for each line of a setting that was to be measured at two values or more."""
    asked = [{value: one for value, one in line.items() if one.asked_for(measure)} for line in lines]
    asked = [line for line in asked if len(line) > 1]
    if measure == "memory" and not any(one.peak for line in asked for one in line.values()):
        return []
    values = tuple(dict.fromkeys(value for line in asked for value in line))
    return [Growing(line, measure, values, scaling_of(axis, line, measure, run)) for line in asked]


def _table(axis: str, measure: Measure, groups: Sequence[list[Growing]], run: Run, notes: Sequence[str]) -> Table:
    rows = [row for group in groups for row in group]
    cells = [group[0].bundle.cell for group in groups]
    kept = (*matched_axes(cells[0], axis, *LINE_TECHNIQUES), *(name for name in OWN_AXES if AXES[name].cost))
    changing = varying(cells, in_title_order(kept, but=("outer",)))
    task = [name for name in DISTRIBUTION if name in changing]
    named = [*task, *telling_apart(cells, task, [name for name in changing if name not in task])]
    common = [name for name in title_axes(axis) if name not in changing]
    values = _in_order(axis, groups, run)
    columns: list[Column[Growing]] = [
        *axis_columns(*named),
        *_line_columns(rows, named),
        Column("growth", lambda row: _growth(row, axis, run)),
        Column("law", _law),
        Column("theory", lambda row: verdict_text(row.scaling) if row.scaling else NOTHING),
        *([Column("leaves its law at", _left)] if any(_may_leave(row) for row in rows) else []),
        *(_at(value, cells, run, changing) for value in values),  # last: there may be more than a page is wide
    ]
    return table_of(
        f"{TITLES[measure]} with {GROWING[axis]}: {setting(cells[0], common, run.data_names)}",
        _says(measure, rows),
        columns,
        rows,
        lambda row: ids_of(row.line.values()),
        [
            *([f"Settings: {_settings(cells, changing, named, run)}."] if set(changing) > set(named) else []),
            *(["In brackets: meta-parameters, of the algorithm that has the fewest."] if axis == "model" else []),
            "growth: the value at the largest size ÷ the value at the smallest, or of the sizes in brackets. "
            f"slope: per {SIZES[axis]}. {INTERVALS[measure]}",
            *partly_notes(row.scaling.law for row in rows if row.scaling),
            *notes,
        ],
    )


def _says(measure: Measure, rows: Sequence[Growing]) -> str:
    if measure == "time":
        return "Time of one meta-iteration with its 95 % interval."
    return next(iter(memory_notes([bundle for row in rows for bundle in row.line.values()])))


def _settings(cells: Sequence[Cell], changing: Sequence[str], named: Sequence[str], run: Run) -> str:
    """What is not the same in all settings, in words; without what columns tell, if the task tells the rest."""

    def words(axes: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(setting(cell, axes, run.data_names) for cell in cells))

    untold = words([name for name in changing if name in DISTRIBUTION or name not in named])
    by_task = "task" in named and len(untold) == len({cell.distribution for cell in cells})
    return "; ".join(untold if by_task else words(changing))


def _line_columns(rows: Sequence[HasBundle], named: Sequence[str]) -> list[Column[HasBundle]]:
    """The columns that name the lines of a setting; the outer optimiser is shown only where it tells two apart."""
    cells = [row.bundle.cell for row in rows]
    outer = telling_apart(cells, (*named, "algorithm", "engine", *LINE_TECHNIQUES), ("outer",))
    return [*axis_columns("algorithm", "engine", *outer), *technique_columns(cells, LINE_TECHNIQUES)]


def _in_order(axis: str, groups: Sequence[Sequence[Growing]], run: Run) -> list[AxisValue]:
    """The values that have a column: numbers and models from small to large, and models of one setting together."""
    place: dict[AxisValue, int] = {}
    for number, group in enumerate(groups):
        for value in group[0].values:
            place.setdefault(value, number if axis == "model" else 0)
    cells = [group[0].bundle.cell for group in groups]
    return sorted(place, key=lambda value: (place[value], *_size(value, cells, run)))


def _size(value: AxisValue, cells: Sequence[Cell], run: Run) -> tuple[float, str]:
    return (min(_counts(value, cells, run), default=math.inf), value) if isinstance(value, str) else (value, "")


def _counts(model: str, cells: Sequence[Cell], run: Run) -> set[int]:
    """How many meta-parameters a model has on the tasks of these cells."""
    return {found for cell in cells if (found := run.model_sizes(cell).get(model)) is not None}


def _at(value: AxisValue, cells: Sequence[Cell], run: Run, told: Sequence[str]) -> Column[Growing]:
    counts = sorted(_counts(value, cells, run)) if isinstance(value, str) else []
    count = f" ({' or '.join(f'{number:,}' for number in counts)})" if counts else ""
    return Column(
        f"{value}{count}",
        lambda row: _entry(row.line[value], row.measure) if value in row.line else "",
        cost=lambda row: row.line[value].cell if value in row.line else None,
        told=tuple(told),
    )


def _figure(bundle: Bundle, measure: Measure) -> str:
    """The time or the peak of memory, and whether the time is disturbed or drifts; `NOTHING` without one."""
    if measure == "memory":
        return peak_text(bundle)
    if bundle.step is None:
        return NOTHING
    return time_text(bundle.step) + disturbed_mark(bundle) + (DRIFTING if bundle.drift > 1 else "")


def _entry(bundle: Bundle, measure: Measure) -> str:
    """A figure, or the word of what happened instead."""
    text = _figure(bundle, measure)
    if text == NOTHING:
        return status_or_nothing(bundle)
    return text + PARTIAL if is_partial(bundle) else text


def _may_leave(row: Growing) -> bool:
    """Whether there are sizes enough to tell: some for the law, and one beyond them."""
    return row.scaling is not None and len(row.scaling.law.sizes) > POINTS_TO_JUDGE


def _law(row: Growing) -> str:
    """The law, marked where it stands on a disturbed time."""
    if row.scaling is None:
        return NOTHING
    return law_text(row.scaling) + (disturbed_mark(*row.line.values()) if row.measure == "time" else "")


def _left(row: Growing) -> str:
    """The first size that the law of all smaller ones misses; `NOTHING` where it holds to the end, or none can tell."""
    return f"{row.scaling.left:,.0f}" if row.scaling and row.scaling.left else NOTHING


def _growth(row: Growing, axis: str, run: Run) -> str:
    """The ratio of the ends of a line, of what has figures; says which ends, if not those of its setting."""
    values = sorted(row.values, key=lambda value: _size(value, [row.bundle.cell], run))
    ends = [value for value in values if value in row.line and _figure(row.line[value], row.measure) != NOTHING]
    if len(ends) < 2:
        return NOTHING
    small, large = ends[0], ends[-1]
    peaks = {peak.bytes for value in ends if (peak := row.line[value].peak)}
    flat = row.measure == "memory" and len(peaks) == 1
    ratio = time_ratio if row.measure == "time" else memory_ratio
    text = CONSTANT if flat else ratio(row.line[large], row.line[small])
    return text if (small, large) == (values[0], values[-1]) else text + f" ({small} to {large})"


def law_text(scaling: Scaling) -> str:
    """The law that describes the figures: intercept and slope, an exponent, that nothing grows, or that none does."""
    return _form_text(scaling.law, scaling.measure) + stands_on(scaling.law)


def _form_text(law: Law, measure: Measure) -> str:
    if law.form == "constant":
        return CONSTANT
    if law.form == "line" or len(law.sizes) < POINTS_TO_JUDGE:
        return f"intercept {amount_text(law.fixed, measure)}, slope {amount_text(law.each, measure)}"
    if law.form == "power":
        return f"exponent {exponent_text(law.exponent)}"
    return f"{NO_LAW}; last exponent {law.local:.2f}"


def verdict_text(scaling: Scaling) -> str:
    """What theory expects, whether it agrees, and why in a few words."""
    if scaling.theory is None:
        return NOTHING
    why = _why(scaling)
    return f"{scaling.theory.words}: {scaling.verdict}" + (f" ({why})" if why else "")


def _why(scaling: Scaling) -> str:
    law, expected, said = scaling.law, scaling.theory, scaling.verdict
    found, intercept = law.exponent.interval, law.fixed.interval
    if expected is None or law.form == "constant":
        return "" if said == "agrees" else CONSTANT
    if said == "cannot tell":
        if found is None:
            return "two sizes"
        if found.high < expected.exponent:
            return "an intercept may explain it"
        return {"none": "", "line": "too noisy"}.get(law.form, "the interval is too wide")
    share = f"intercept {100 * min(law.fixed.value / law.values[0], 1):.0f} %"
    known = intercept is not None and intercept.low > 0
    if said == "agrees":
        linear = rises_straight(law, expected) and law.exponent.value < 1 - ALIKE
        return f"linear, {share}" if linear and known else ""
    if expected.each is not None:
        return f"{trim(law.each.value / expected.each, 0, 0)} copies a step"
    if law.exponent.value > expected.exponent:
        return "grows more"
    return f"grows less; {share}" if known else "grows less"
