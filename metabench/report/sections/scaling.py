"""Laws by which time and memory grow with inner steps, parameters and meta-batch, compared with theory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from metabench.report.bundles import BASELINE, Bundle, ids_of
from metabench.report.numbers import BYTE_UNITS, NOTHING, TIME_UNITS, in_unit, trim, with_interval
from metabench.report.render.tables import Table
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.report.sections.growth import AxisValue, GrowthLine, first, growing_lines, growing_setting, line_columns
from metabench.statistics.laws import CLOSE, POINTS_TO_JUDGE, Estimate, Law, fit
from metabench.statistics.theory import ALIKE, ANOTHER, Theory, TheoryVerdict, rises_straight, verdict

Measure: TypeAlias = Literal["time", "memory"]
MEASURES: Mapping[Measure, str] = {"time": "Time", "memory": "Peak memory"}
SIZES = {"inner_steps": "inner step", "model": "parameter", "meta_batch": "task"}
"""What each axis is counted in."""
SYMBOLS = {"inner_steps": "K", "model": "P", "meta_batch": "B"}
FLOAT_BYTES = {"float32": 4, "float64": 8, "tf32": 4, "bfloat16": 4}
"""Bytes of a parameter: bfloat16 keeps parameters in float32."""
MISSED = " ≁"
"""Marks the exponent of a power law that the figures do not follow."""
NOTES = (
    "exponent: p of the power law c · size^p that fits best in logarithms; R²: the share of the growth that it "
    "explains. Two sizes have an exponent, and no sign of whether a power law holds. constant: the same to the byte at "
    "all sizes.",
    f"{MISSED.strip()}: the power law misses a size by more than noise; of memory, by more than {100 * CLOSE:.0f} %. "
    "Then last two is the exponent between the two largest sizes, and the straight line may say more.",
    "fixed part and each …: a and b of the straight line a + b · size. Theory is of large sizes: at those measured, a "
    "fixed part makes an exponent smaller.",
    f"agrees: the exponent's interval holds the theory's and none {ANOTHER} away, or lies within {ALIKE} of it; or "
    "theory is linear, and a straight line that rises passes all sizes, three at least, within "
    f"{100 * CLOSE:.0f} % of the growth.",
    "differs: the interval leaves the theory out, and no fixed part explains it.",
)


@dataclass(frozen=True)
class Scaling:
    """A line with its laws."""

    line: GrowthLine
    measure: Measure
    axis: str
    law: Law
    theory: Theory | None

    @property
    def bundle(self) -> Bundle:
        return first(self.line)

    @property
    def cells(self) -> tuple[str, ...]:
        """Ids of what was measured."""
        return ids_of(self.line.values())

    @property
    def verdict(self) -> TheoryVerdict | None:
        """Whether theory holds; None without a theory."""
        return verdict(self.law, self.theory) if self.theory else None


@section("Scaling laws", place=60)
def scaling_tables(run: Run) -> Iterator[Table]:
    """A table for each axis, setting and measure with a line of two sizes or more."""
    notes: Sequence[str] = NOTES
    for where, found in laws_of(run):
        yield _table(found, where, notes)
        notes = ()  # once is enough


def laws_of(run: Run) -> Iterator[tuple[str, list[Scaling]]]:
    """What the lines of each axis, setting and measure have in common, as a phrase, and their laws."""
    for axis, lines in growing_lines(run):
        for measure in MEASURES:
            if found := scalings(axis, lines, measure, run.model_sizes):
                yield growing_setting(axis, lines, run.data_names), found


def scalings(axis: str, lines: Sequence[GrowthLine], measure: Measure, sizes: Mapping[str, int]) -> list[Scaling]:
    """The lines with two sizes or more that have figures, with their laws."""
    at = [{sizes_of(axis, value, sizes): bundle for value, bundle in line.items()} for line in lines]
    laws = [
        (line, fit(figures_by_round(bundles, measure), first(line).noise if measure == "time" else None))
        for line, bundles in zip(lines, at, strict=True)
    ]
    return [Scaling(line, measure, axis, law, theory(first(line), axis, measure, sizes)) for line, law in laws if law]


def figures_by_round(line: Mapping[float, Bundle], measure: str) -> dict[int, dict[float, float]]:
    """Seconds or bytes of a line, by round and size. Peaks of memory come from one round, and are of one method."""
    found: dict[int, dict[float, float]] = {}
    methods = {bundle.peak.method for bundle in line.values() if bundle.peak}
    for size, bundle in line.items():
        for number, figure in _figures(bundle, measure, len(methods) == 1):
            if size > 0 and figure > 0:
                found.setdefault(number, {})[size] = figure
    return found


def sizes_of(axis: str, value: AxisValue, sizes: Mapping[str, int]) -> float:
    """The number that a value of an axis stands for; 0 for a model of unknown size."""
    return float(sizes.get(str(value), 0) if axis == "model" else value)


def _figures(bundle: Bundle, measure: str, comparable: bool) -> Iterator[tuple[int, float]]:
    if measure == "time":
        yield from ((number, median(samples)) for number, samples in bundle.samples.items() if samples)
    elif bundle.peak and comparable:
        yield 0, float(bundle.peak.bytes)


def theory(bundle: Bundle, axis: str, measure: Measure, sizes: Mapping[str, int]) -> Theory | None:
    """What is expected of an implementation: time O(K · B · P), memory by what it keeps of the inner loop."""
    cell, known = bundle.cell, bundle.rows[0].theory
    if not known.order or (0 < cell.first_order < 1):
        return None
    if measure == "time":
        return Theory(0, "no inner loop") if axis == "inner_steps" and known.order == "none" else _power(axis, 1)
    if axis == "model":
        return _power(axis, 1)
    if axis == "meta_batch":
        return None if known.concurrent_tasks is None else _power(axis, int(known.concurrent_tasks))
    if known.order != "second" or cell.first_order:
        return _power(axis, 0)
    if not cell.checkpoint:
        return _power(axis, 1)
    size, width = sizes.get(cell.model), FLOAT_BYTES.get(cell.precision)
    if bundle.algorithm != BASELINE or cell.inner_optimizer != "sgd" or not (size and width):
        return None  # what it copies in a step is not known here
    return Theory(1, "O(1) graph + K copies of the parameters", float(size * width))


def _power(axis: str, exponent: int) -> Theory:
    return Theory(exponent, f"O({SYMBOLS[axis]})" if exponent else "O(1)")


def verdict_text(scaling: Scaling) -> str:
    """The verdict, with why in a few words."""
    law, expected = scaling.law, scaling.theory
    said = scaling.verdict
    if expected is None or said is None:
        return NOTHING
    found = law.exponent.interval
    if law.form == "constant":
        return f"{said}: constant"
    if said == "cannot tell":
        why = "a fixed part may explain it" if found and found.high < expected.exponent else "the interval is too wide"
        return f"{said}: {why if found else 'no interval'}"
    fixed = law.fixed.interval
    part = f"{100 * min(law.fixed.value / law.values[0], 1):.0f} % of the smallest is fixed"
    known = fixed is not None and fixed.low > 0
    if said == "agrees":
        linear = rises_straight(law, expected)
        return f"{said}: a straight line, {part}" if linear and known and law.exponent.value < 1 - ALIKE else said
    if expected.each is not None:
        return f"{said}: {trim(law.each.value / expected.each, 0, 0)} copies a step"
    if law.exponent.value > expected.exponent:
        return f"{said}: grows more"
    return f"{said}: grows less; {part}" if known else f"{said}: grows less"


def law_text(law: Law) -> str:
    """The exponent with its interval, marked where the power law misses; or that nothing grows."""
    if law.form == "constant":
        return law.form
    return exponent_text(law.exponent) + (MISSED if _is_missed(law) else "")


def _is_missed(law: Law) -> bool:
    return law.missed and len(law.sizes) >= POINTS_TO_JUDGE


def exponent_text(found: Estimate) -> str:
    """The exponent with its interval, or alone; never more than two digits after the point."""
    if found.interval is None:
        return f"{found.value:.2f}"
    low, high = found.interval.low, found.interval.high
    if high - low > 0.1:
        return with_interval(found.interval)
    return f"{found.value:.2f} [{low:.2f}, {high:.2f}]"


def amount_text(found: Estimate, measure: Measure, alone: bool = False) -> str:
    """Seconds or bytes in a unit that reads well, with the interval unless `alone`."""
    scale, unit = in_unit(found.value, TIME_UNITS if measure == "time" else BYTE_UNITS)
    if found.interval and not alone:
        return with_interval(found.interval, scale, unit)
    return f"{trim(found.value / scale, 0, 0)} {unit}"


def _table(found: Sequence[Scaling], where: str, notes: Sequence[str]) -> Table:
    measure, unit = found[0].measure, SIZES[found[0].axis]
    what = MEASURES[measure]
    columns: list[Column[Scaling]] = [
        *line_columns(found),
        Column(f"{unit}s", lambda one: ", ".join(f"{size:,.0f}" for size in one.law.sizes)),
        Column("exponent", lambda one: law_text(one.law)),
        Column("last two", lambda one: f"{one.law.local:.2f}" if _is_missed(one.law) else "", droppable=True),
        Column("R²", lambda one: NOTHING if one.law.r_squared is None else f"{one.law.r_squared:.3f}"),
        Column("fixed part", lambda one: amount_text(one.law.fixed, measure)),
        Column(f"each {unit}", lambda one: amount_text(one.law.each, measure)),
        Column("theory", lambda one: one.theory.words if one.theory else NOTHING),
        Column("verdict", verdict_text),
    ]
    return table_of(
        f"{what} by {unit}s: {where}",
        f"{what} of one meta-iteration as a function of the number of {unit}s, with 95 % intervals: {_how(found)}.",
        columns,
        found,
        lambda one: one.cells,
        notes,
    )


def _how(found: Sequence[Scaling]) -> str:
    """What the intervals hold, in words."""
    if found[0].measure == "memory":
        return "of exact figures, they hold how far a law misses them"
    noise = "how processes differ" if found[0].bundle.noise else "how rounds differ, where there are three"
    return f"they hold {noise}, and how far a law misses the figures, where that is more"
