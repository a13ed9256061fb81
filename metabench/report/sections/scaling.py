"""By what laws time and memory grow with inner steps, parameters and meta-batch, held against theory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, TypeAlias

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, ids_of, model_sizes
from metabench.report.numbers import BYTE_UNITS, NOTHING, TIME_UNITS, trim, with_interval
from metabench.report.render.tables import Section, Table, technique_text, techniques
from metabench.report.sections.growth import TECHNIQUES, Line, Value, growing_lines, growing_setting, labels_of
from metabench.statistics.laws import CLOSE, POINTS_TO_JUDGE, Estimate, Law, fit

Measure: TypeAlias = Literal["time", "memory"]
Order: TypeAlias = Literal["second", "first", "implicit", "none"]
Verdict: TypeAlias = Literal["agrees", "differs", "cannot tell"]
SIZES = {"inner_steps": "inner step", "model": "parameter", "meta_batch": "task"}
"""What each axis is counted in."""
SYMBOLS = {"inner_steps": "K", "model": "P", "meta_batch": "B"}
ORDERS: Mapping[str, Order] = {
    **dict.fromkeys(("maml", "maml++", "meta-sgd", "meta-curvature", "task-adaptive-maml", "anil", "cavia"), "second"),
    **dict.fromkeys(("fomaml", "reptile", "fine-tuning", "from-scratch"), "first"),
    "imaml": "implicit",
    **dict.fromkeys(("prototypical", "prototypical-cosine", "matching", "matching-fce", "relation", "cnp"), "none"),
}
"""What is differentiated through the inner loop, by each algorithm of ours; of others no theory is known."""
MEMORY_OF_BATCH = {"loop": 0, "vmap": 1}
"""`loop` holds one task at a time, `vmap` all of them; of other engines it is not known."""
ALIKE, ANOTHER = 0.1, 0.5
"""Exponents closer than this are alike; from this on they are another law."""
FLOAT_BYTES = {"float32": 4, "float64": 8, "tf32": 4, "bfloat16": 4}
"""Of a parameter: bfloat16 keeps them in float32."""
NOTES = (
    "exponent: p of the power law c · size^p that fits best in logarithms; R²: the share of the growth that it "
    "explains. Two sizes have an exponent, and no sign of whether a power law holds.",
    "fixed part and each …: a and b of the straight line a + b · size. Theory is of large sizes: at those measured, a "
    "fixed part makes an exponent smaller.",
    f"agrees: the exponent's interval holds the theory's and none {ANOTHER} away, or lies within {ALIKE} of it; or "
    "theory is linear, and a straight line that rises passes all sizes, three at least, within "
    f"{100 * CLOSE:.0f} % of the growth.",
    "differs: the interval leaves the theory out, and no fixed part explains it.",
)


@dataclass(frozen=True)
class Theory:
    """What is expected of a line."""

    exponent: int
    words: str
    each: float | None = None
    """Where given, the cost of each unit is foreseen, and not the exponent."""


@dataclass(frozen=True)
class Scaling:
    """A line with its laws."""

    line: Line
    measure: Measure
    axis: str
    law: Law
    theory: Theory | None

    @property
    def bundle(self) -> Bundle:
        return next(iter(self.line.values()))

    @property
    def cells(self) -> tuple[str, ...]:
        """Ids of what was measured."""
        return ids_of(self.line.values())

    @property
    def verdict(self) -> Verdict | None:
        """None without a theory."""
        return verdict(self.law, self.theory) if self.theory else None


def scaling_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """A table for each axis, setting and measure with a line of two sizes or more."""
    sizes = model_sizes(rows)
    measures: tuple[Measure, ...] = ("time", "memory")
    tables = [
        _table(found, growing_setting(axis, lines, data), labels_of(lines))
        for axis, lines in growing_lines(rows)
        for measure in measures
        if (found := scalings(axis, lines, measure, sizes))
    ]
    tables = [replace(table, notes=() if number else NOTES) for number, table in enumerate(tables)]
    return Section("Scaling laws", tuple(tables))


def scalings(axis: str, lines: Sequence[Line], measure: Measure, sizes: Mapping[str, int]) -> list[Scaling]:
    """The lines with two sizes or more that have figures, with their laws."""
    found = []
    for line in lines:
        law = fit(figures_by_round(axis, line, measure, sizes))
        if law:
            cell = next(iter(line.values())).cell
            found.append(Scaling(line, measure, axis, law, theory(cell, axis, measure, sizes)))
    return found


def figures_by_round(
    axis: str, line: Line, measure: Measure, sizes: Mapping[str, int]
) -> dict[int, dict[float, float]]:
    """Seconds or bytes of a line, by round and size. Peaks of memory come from one round, and are of one method."""
    found: dict[int, dict[float, float]] = {}
    methods = {bundle.peak.method for bundle in line.values() if bundle.peak}
    for value, bundle in line.items():
        size = sizes_of(axis, value, sizes)
        for number, figure in _figures(bundle, measure, len(methods) == 1):
            if size > 0 and figure > 0:
                found.setdefault(number, {})[size] = figure
    return found


def sizes_of(axis: str, value: Value, sizes: Mapping[str, int]) -> float:
    """The number that a value of an axis stands for; 0 for a model of unknown size."""
    return float(sizes.get(str(value), 0) if axis == "model" else value)


def _figures(bundle: Bundle, measure: Measure, comparable: bool) -> Iterator[tuple[int, float]]:
    if measure == "time":
        yield from ((number, median(samples)) for number, samples in bundle.samples.items() if samples)
    elif bundle.peak and comparable:
        yield 0, float(bundle.peak.bytes)


def theory(cell: Cell, axis: str, measure: Measure, sizes: Mapping[str, int]) -> Theory | None:
    """What is expected of an implementation: time O(K · B · P), memory by what it keeps of the inner loop."""
    order = ORDERS.get(str(cell.algorithm))
    if order is None or (0 < cell.first_order < 1):
        return None
    if measure == "time":
        return Theory(0, "no inner loop") if axis == "inner_steps" and order == "none" else _power(axis, 1)
    if axis == "model":
        return _power(axis, 1)
    if axis == "meta_batch":
        power = MEMORY_OF_BATCH.get(str(cell.engine))
        return None if power is None else _power(axis, power)
    if order != "second" or cell.first_order:
        return _power(axis, 0)
    if not cell.checkpoint:
        return _power(axis, 1)
    size, width = sizes.get(str(cell.model)), FLOAT_BYTES.get(str(cell.precision))
    if cell.algorithm != "maml" or cell.inner_optimizer != "sgd" or not (size and width):
        return None  # what it copies in a step is not known here
    return Theory(1, "O(1) graph + K copies of the parameters", float(size * width))


def _power(axis: str, exponent: int) -> Theory:
    return Theory(exponent, f"O({SYMBOLS[axis]})" if exponent else "O(1)")


def verdict(law: Law, expected: Theory) -> Verdict:
    """Whether the interval of what was fitted holds what was expected: see `NOTES`."""
    found, centre = law.exponent, float(expected.exponent)
    unit = 1.0
    if expected.each is not None:
        found, centre, unit = law.each, expected.each, expected.each
    if found.interval is None:
        return "cannot tell"
    low, high = ((end - centre) / unit for end in (found.interval.low, found.interval.high))
    if low >= -ALIKE and high <= ALIKE:
        return "agrees"
    if expected.exponent == 1 and expected.each is None and high < 0:
        return _of_less_than_linear(law)
    if low > 0 or high < 0:
        return "differs"
    return "agrees" if (low > -ANOTHER and high < ANOTHER) or _rises_straight(law, expected) else "cannot tell"


def _of_less_than_linear(law: Law) -> Verdict:
    """A linear law beside a fixed part has an exponent below 1, and so may look like no linear law."""
    if law.straight:
        return "agrees"
    rises = law.each.interval is not None and law.each.interval.high > 0
    return "cannot tell" if len(law.sizes) < POINTS_TO_JUDGE or (rises and not law.bent) else "differs"


def _rises_straight(law: Law, expected: Theory) -> bool:
    return expected.exponent == 1 and expected.each is None and law.straight


def verdict_text(scaling: Scaling) -> str:
    """The verdict, with why in a few words."""
    law, expected = scaling.law, scaling.theory
    said = scaling.verdict
    if expected is None or said is None:
        return NOTHING
    found = law.exponent.interval
    if said == "cannot tell":
        why = "a fixed part may explain it" if found and found.high < expected.exponent else "the interval is too wide"
        return f"{said}: {why if found else 'no interval'}"
    fixed = law.fixed.interval
    part = f"{100 * min(law.fixed.value / law.values[0], 1):.0f} % of the smallest is fixed"
    known = fixed is not None and fixed.low > 0
    if said == "agrees":
        linear = _rises_straight(law, expected)
        return f"{said}: a straight line, {part}" if linear and known and law.exponent.value < 1 - ALIKE else said
    if expected.each is not None:
        return f"{said}: {trim(law.each.value / expected.each, 0, 0)} copies a step"
    if law.exponent.value > expected.exponent:
        return f"{said}: grows more"
    return f"{said}: grows less; {part}" if known else f"{said}: grows less"


def exponent_text(found: Estimate) -> str:
    """The exponent with its interval, or alone; never more than two digits after the point."""
    if found.interval is None:
        return f"{found.value:.2f}"
    low, high = found.interval.low, found.interval.high
    if high - low > 0.1:
        return with_interval(found.interval)
    return f"{found.value:.2f} [{low:.2f}, {high:.2f}]"


def _amount(found: Estimate, measure: Measure) -> str:
    """Seconds or bytes in a unit that reads well, with the interval."""
    units = TIME_UNITS if measure == "time" else BYTE_UNITS
    scale, unit = next(((float(s), u) for s, u in units if abs(found.value) >= s), (float(units[-1][0]), units[-1][1]))
    if found.interval:
        return with_interval(found.interval, scale, unit)
    return f"{trim(found.value / scale, 0, 0)} {unit}"


def _table(found: Sequence[Scaling], where: str, labels: Sequence[str]) -> Table:
    axis, measure = found[0].axis, found[0].measure
    technical = any(techniques(one.bundle.cell, TECHNIQUES) for one in found)
    body = tuple(
        (
            *(str(one.bundle.cell[label]) for label in labels),
            *([technique_text(one.bundle.cell, TECHNIQUES)] if technical else []),
            ", ".join(f"{size:,.0f}" for size in one.law.sizes),
            exponent_text(one.law.exponent),
            NOTHING if one.law.r_squared is None else f"{one.law.r_squared:.3f}",
            _amount(one.law.fixed, measure),
            _amount(one.law.each, measure),
            one.theory.words if one.theory else NOTHING,
            verdict_text(one),
        )
        for one in found
    )
    unit = SIZES[axis]
    columns = (
        *labels,
        *(["technique"] if technical else []),
        *(f"{unit}s", "exponent", "R²", "fixed part", f"each {unit}", "theory", "verdict"),
    )
    what = "Time" if measure == "time" else "Peak memory"
    return Table(
        f"{what} by {unit}s: {where}",
        f"{what} of one meta-iteration as a function of the number of {unit}s, with 95 % intervals: {_how(found)}.",
        columns,
        body,
        cells=tuple(one.cells for one in found),
    )


def _how(found: Sequence[Scaling]) -> str:
    rounds = {one.law.rounds for one in found}
    if min(rounds) >= 3:
        return "Student's, of the fits to each round"
    return "Student's, of how far each law misses the points, where there are three or more"
