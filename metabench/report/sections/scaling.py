"""Laws by which time and memory grow with inner steps, parameters and meta-batch, compared with theory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

from metabench.record.measurement import Repetition
from metabench.report.apart import samples_by_round
from metabench.report.bundles import BASELINE, Bundle, ids_of
from metabench.report.numbers import BYTE_UNITS, TIME_UNITS, in_unit, trim, with_interval
from metabench.report.results import Run
from metabench.report.sections.growth import AxisValue, GrowthLine, first, growing_lines, growing_setting
from metabench.statistics.laws import Estimate, Law, fit, left_at
from metabench.statistics.theory import Theory, TheoryVerdict, verdict

Measure: TypeAlias = Literal["time", "memory"]
MEASURES: Mapping[Measure, str] = {"time": "Time", "memory": "Peak memory"}
SIZES = {"inner_steps": "inner step", "model": "parameter", "meta_batch": "task"}
"""What each axis is counted in."""
SYMBOLS = {"inner_steps": "K", "model": "P", "meta_batch": "B"}
FLOAT_BYTES = {"float32": 4, "float64": 8, "tf32": 4, "bfloat16": 4}
"""Bytes of a parameter: bfloat16 keeps parameters in float32."""


@dataclass(frozen=True)
class Scaling:
    """A line with its laws."""

    line: GrowthLine
    measure: Measure
    axis: str
    law: Law
    theory: Theory | None
    left: float | None
    """The first size that the law of all smaller ones misses."""

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


def laws_of(run: Run) -> Iterator[tuple[str, list[Scaling]]]:
    """What the lines of each axis, setting and measure have in common, as a phrase, and their laws."""
    for axis, lines in growing_lines(run):
        for measure in MEASURES:
            if found := scalings(axis, lines, measure, run):
                yield growing_setting(axis, lines, run.data_names), found


def scalings(axis: str, lines: Sequence[GrowthLine], measure: Measure, run: Run) -> list[Scaling]:
    """The lines with two sizes or more that have figures, with their laws."""
    return [found for line in lines if (found := scaling_of(axis, line, measure, run))]


def scaling_of(axis: str, line: GrowthLine, measure: Measure, run: Run) -> Scaling | None:
    """A line with its laws; None where fewer than two sizes have figures."""
    sizes = run.model_sizes(first(line).cell)
    at = {sizes_of(axis, value, sizes): bundle for value, bundle in line.items()}
    figures, noise = figures_by_round(at, measure), first(line).noise if measure == "time" else None
    if (law := fit(figures, noise)) is None:
        return None
    return Scaling(line, measure, axis, law, theory(first(line), axis, measure, sizes), left_at(figures, noise))


def figures_by_round(line: Mapping[float, Bundle], measure: str) -> dict[Repetition, dict[float, float]]:
    """Seconds or bytes of a line, by repetition and size; `measure` is time, memory, or what is timed apart.

    Peaks of memory come from one round, and are of one kind.
    """
    found: dict[Repetition, dict[float, float]] = {}
    kinds = {bundle.peak.kind for bundle in line.values() if bundle.peak}
    for size, bundle in line.items():
        for number, figure in _figures(bundle, measure, len(kinds) == 1):
            if size > 0 and figure > 0:
                found.setdefault(number, {})[size] = figure
    return found


def sizes_of(axis: str, value: AxisValue, sizes: Mapping[str, int]) -> float:
    """The number that a value of an axis stands for; 0 for a model of unknown size."""
    return float(sizes.get(str(value), 0) if axis == "model" else value)


def _figures(bundle: Bundle, measure: str, comparable: bool) -> Iterator[tuple[Repetition, float]]:
    if measure == "time":
        yield from ((number, median(samples)) for number, samples in bundle.samples.items() if samples)
    elif measure != "memory":
        yield from ((number, median(samples)) for number, samples in samples_by_round(bundle, measure).items())
    elif bundle.peak and comparable:
        yield ("", 0), float(bundle.peak.bytes)


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
    if cell.kept_steps:
        return _power(axis, 0)
    if not cell.checkpoint and cell.second_order == "reverse":
        return _power(axis, 1)
    size, width = sizes.get(cell.model), FLOAT_BYTES.get(cell.precision)
    if bundle.algorithm != BASELINE or cell.inner_optimizer != "sgd" or not (size and width):
        return None  # what it copies in a step is not known here
    return Theory(1, "K copies of the parameters", float(size * width))


def _power(axis: str, exponent: int) -> Theory:
    return Theory(exponent, f"O({SYMBOLS[axis]})" if exponent else "O(1)")


def stands_on(law: Law) -> str:
    """Words in brackets on how many repetitions a law stands, ` (2 of 3 repetitions)`; empty where these are all."""
    if law.rounds == law.tried:
        return ""
    return f" ({law.rounds} of {law.tried} repetitions)" if law.rounds else " (means)"


def partly_notes(laws: Iterable[Law]) -> list[str]:
    """What is to be said where a law does not stand on all repetitions."""
    kinds = {law.rounds > 0 for law in laws if law.rounds < law.tried}
    said = {
        True: "A law stands on the repetitions that have all sizes of its line; in brackets where these are not all.",
        False: "(means): no repetition has all sizes, so the law is of the mean at each, and its interval is that of "
        "one repetition. What changed on the machine between the sizes is in the law.",
    }
    return [sentence for kind, sentence in said.items() if kind in kinds]


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
