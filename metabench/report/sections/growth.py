"""How time and memory grow with inner steps, model size and meta-batch size, all else equal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, bundles, ids_of, is_partial, model_sizes, status, telling_apart, time_key
from metabench.report.noise import NoiseFloor, ratio_text, same_notes
from metabench.report.numbers import NOTHING, bytes_text, exact, time_text
from metabench.report.render.tables import (
    PARTIAL,
    PARTIAL_NOTE,
    TECHNIQUE_AXES,
    Section,
    Table,
    setting,
    technique_text,
    techniques,
)
from metabench.statistics.ratios import ratio_interval

GROWING = {"inner_steps": "inner steps", "model": "model size", "meta_batch": "meta-batch size"}
TECHNIQUES = tuple(axis for axis in TECHNIQUE_AXES if axis != "precision")
"""Told in one column, if any row uses one; a precision is of the whole table."""
LABELS = ("algorithm", "engine", "outer", *TECHNIQUES)
"""What a row stands for; the outer optimiser is shown only where it tells two rows apart."""
SETTING_AXES = (
    *("task", "ways", "shots", "model", "query", "train_ways", "train_shots", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "world_size", "machine"),
)

Value: TypeAlias = str | int
Line: TypeAlias = Mapping[Value, Bundle]
"""The cells of one algorithm on one engine by their value of the axis that grows."""


@dataclass(frozen=True)
class _Measure:
    """Something that grows."""

    name: str
    says: str
    text: Callable[[Bundle], str | None]
    """The figure of a bundle, if it has one."""
    factor: Callable[[Bundle, Bundle], str]
    """How many times the first bundle's figure is the second's."""


def growth_section(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> Section:
    """For each axis and setting with a line of two values or more: a table of times and one of memory."""
    sizes = model_sizes(rows)
    tables = tuple(
        _table(measure, asked, axis, sizes, data)
        for axis, lines in growing_lines(rows)
        for measure in _measures(lines, floor)
        if (asked := _asked_for(measure, lines))
    )
    return Section("Growth", tables)


def growing_lines(rows: Sequence[Measurement]) -> Iterator[tuple[str, list[Line]]]:
    """Each axis that grows, with the lines of two values or more of one setting, in the order of their algorithms."""
    cost = bundles(rows, time_key)
    for axis in GROWING:
        settings: dict[tuple[Any, ...], list[Bundle]] = {}
        for bundle in cost:
            settings.setdefault(_key_without(bundle, (axis, *LABELS)), []).append(bundle)
        for group in settings.values():
            if lines := _lines(group, axis):
                yield axis, lines


def growing_setting(axis: str, lines: Sequence[Line], data: Mapping[str, str]) -> str:
    """What all of the lines have in common, as a phrase."""
    cell = next(iter(lines[0].values())).cell
    return setting(cell, [name for name in SETTING_AXES if name != axis], data)


def labels_of(lines: Sequence[Line]) -> list[str]:
    """The axes whose values name the lines, beside their techniques."""
    cells = [next(iter(line.values())).cell for line in lines]
    return ["algorithm", "engine", *telling_apart(cells, ("algorithm", "engine", *TECHNIQUES), ("outer",))]


def _key_without(bundle: Bundle, axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(pair for pair in time_key(bundle.cell) if pair[0] not in axes)


def _lines(group: Sequence[Bundle], axis: str) -> list[Line]:
    """The lines of two values or more, in the order of their algorithms."""
    lines: dict[tuple[Any, ...], dict[Value, Bundle]] = {}
    for bundle in group:
        lines.setdefault(_key_without(bundle, (axis,)), {})[bundle.cell[axis]] = bundle
    found = [line for line in lines.values() if len(line) > 1]
    # the bundles come sizes first, which would put a line without the smallest size last
    return sorted(found, key=lambda line: min(bundle.rank for bundle in line.values()))


def _measures(lines: Sequence[Line], floor: NoiseFloor | None) -> list[_Measure]:
    says = "Time of one meta-iteration with its 95 % interval."
    found = [_Measure("Time", says, _time_text, partial(_time_factor, floor=floor))]
    methods = dict.fromkeys(bundle.peak.method for line in lines for bundle in line.values() if bundle.peak)
    if methods:
        says = f"Peak memory of one meta-iteration, by: {'; '.join(methods)}."
        found.append(_Measure("Memory", says, _memory_text, _memory_factor))
    return found


def _asked_for(measure: _Measure, lines: Sequence[Line]) -> list[Line]:
    """The lines, as far as they were to be measured so, of two values or more."""
    asked = [{v: b for v, b in line.items() if b.asked_for(measure.name.lower())} for line in lines]
    return [line for line in asked if len(line) > 1]


def _table(
    measure: _Measure, lines: Sequence[Line], axis: str, sizes: Mapping[str, int], data: Mapping[str, str]
) -> Table:
    def size(value: Value) -> tuple[float, str]:
        return (sizes.get(value, float("inf")), value) if isinstance(value, str) else (value, "")

    values = sorted({value for line in lines for value in line}, key=size)
    cells = [next(iter(line.values())).cell for line in lines]
    labels = labels_of(lines)
    technical = any(techniques(cell, TECHNIQUES) for cell in cells)
    body = tuple(
        (
            *(str(cell[label]) for label in labels),
            *([technique_text(cell, TECHNIQUES)] if technical else []),
            *(_entry(line[value], measure) if value in line else "" for value in values),
            _growth(line, values, measure),
        )
        for line, cell in zip(lines, cells, strict=True)
    )
    heads = [
        f"{value} ({sizes[value]:,})" if isinstance(value, str) and value in sizes else str(value) for value in values
    ]
    notes = [f"growth: the figure at {values[-1]} over the one at {values[0]}, or as stated."]
    notes += same_notes(body)
    if axis == "model":
        notes.append("In brackets: meta-parameters, of the algorithm that has the fewest.")
    if any(PARTIAL in text for row in body for text in row):
        notes.append(PARTIAL_NOTE)
    title = f"{measure.name} with {GROWING[axis]}: {growing_setting(axis, lines, data)}"
    columns = (*labels, *(["technique"] if technical else []), *heads, "growth")
    return Table(title, measure.says, columns, body, tuple(notes), tuple(ids_of(line.values()) for line in lines))


def _entry(bundle: Bundle, measure: _Measure) -> str:
    """A figure, or the word of what happened instead."""
    text = measure.text(bundle)
    if text is None:
        return NOTHING if status(bundle) == "ok" else status(bundle)
    return text + PARTIAL if is_partial(bundle) else text


def _growth(line: Line, values: Sequence[Value], measure: _Measure) -> str:
    """The factor between the ends of a line, of what has figures; says which ends, if not those of the table."""
    ends = [value for value in values if value in line and measure.text(line[value]) is not None]
    if len(ends) < 2:
        return NOTHING
    small, large = ends[0], ends[-1]
    factor = measure.factor(line[large], line[small])
    return factor if (small, large) == (values[0], values[-1]) else factor + f" ({small} to {large})"


def _time_text(bundle: Bundle) -> str | None:
    return time_text(bundle.step) if bundle.step else None


def _time_factor(large: Bundle, small: Bundle, floor: NoiseFloor | None) -> str:
    ratio = ratio_interval(large.samples, small.samples)
    return ratio_text(ratio, floor) if ratio else NOTHING


def _memory_text(bundle: Bundle) -> str | None:
    return bytes_text(bundle.peak.bytes) if bundle.peak else None


def _memory_factor(large: Bundle, small: Bundle) -> str:
    if large.peak is None or small.peak is None or not small.peak.bytes or large.peak.method != small.peak.method:
        return NOTHING
    return exact(large.peak.bytes / small.peak.bytes)
