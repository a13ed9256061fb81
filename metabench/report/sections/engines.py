"""How much faster each engine is than `loop`, the reference, and the fastest of ours than each peer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from metabench.record.measurement import Measurement, Work
from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    bundles,
    ids_of,
    is_partial,
    model_sizes,
    status,
    telling_apart,
    time_key,
    varying,
)
from metabench.report.noise import SAME, NoiseFloor, differs, ratio_text, same_notes
from metabench.report.numbers import NOTHING, Valued, duration_text, error_text, time_text
from metabench.report.render.tables import PARTIAL, PARTIAL_NOTE, Section, Table, setting, without_empty_columns
from metabench.statistics.ratios import ratio_interval

LOOP = "loop"
GROUP_AXES = ("task", "ways", "shots", "device", "precision", "threads", "world_size", "machine")
NO_LOOP = "no time of loop"
NOISY = " *"
Point: TypeAlias = tuple[tuple[str, Any], ...]
"""The sizes of a piece of work: a column."""


class Line(NamedTuple):
    """An implementation on a model, and its bundles by column: a row."""

    label: tuple[str, ...]
    engine: str
    at: dict[Point, Bundle]


class Layout(NamedTuple):
    """What the tables of one setting share."""

    where: str
    labels: list[str]
    lines: list[Line]
    points: list[Point]
    sizes: list[str]
    data: Mapping[str, str]

    def columns(self, *others: str, only: str = "speed-up") -> tuple[str, ...]:
        """Labels, others, and a phrase for each point; `only` where there is but one."""
        phrases = [setting(dict(point), self.sizes, self.data) for point in self.points] if self.sizes else [only]
        return (*self.labels, *others, *phrases)

    def loop_at(self, line: Line, point: Point) -> Bundle:
        """What a line is measured against."""
        return next(other for other in self.lines if other.engine == LOOP and other.label == line.label).at[point]


def engines_section(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> Section:
    """Tables for each setting in which anything was run with `loop` and with another engine."""
    return Section(
        "Engines against loop", tuple(table for layout in layouts(rows, data) for table in _tables(layout, floor))
    )


def layouts(rows: Sequence[Measurement], data: Mapping[str, str]) -> Iterator[Layout]:
    """One for each setting in which anything was run with `loop` and with another engine."""
    groups: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in bundles(rows, time_key):
        groups.setdefault(tuple(bundle.cell[axis] for axis in GROUP_AXES), []).append(bundle)
    sizes = model_sizes(rows)
    for group in groups.values():
        works: dict[tuple[Any, ...], set[str]] = {}
        for bundle in group:
            works.setdefault(_work(bundle), set()).add(bundle.cell.engine)
        compared = [bundle for bundle in group if LOOP in works[_work(bundle)] and len(works[_work(bundle)]) > 1]
        compared.sort(key=lambda bundle: sizes.get(bundle.cell.model, 0))
        if compared:
            yield _layout(compared, data)


def _work(bundle: Bundle) -> tuple[Any, ...]:
    """Equal for what does the same work on different engines."""
    return tuple(pair for pair in time_key(bundle.cell) if pair[0] != "engine")


def _layout(group: Sequence[Bundle], data: Mapping[str, str]) -> Layout:
    cells = [bundle.cell for bundle in group]
    left_out = {"algorithm", "engine", "model", "outer", "seed", "measure", *GROUP_AXES, *TRAINING_AXES}
    axes = [axis for axis in cells[0].axes if axis not in left_out]
    sizes = varying(cells, axes)
    sizes += telling_apart(cells, ("algorithm", "engine", "model", *sizes), ("outer",))
    labels = ["algorithm", *(["model"] if varying(cells, ["model"]) else [])]
    lines: dict[tuple[str, ...], Line] = {}
    for bundle in group:
        label, engine = tuple(str(bundle.cell[axis]) for axis in labels), str(bundle.cell.engine)
        line = lines.setdefault((*label, engine), Line(label, engine, {}))
        line.at[tuple((axis, bundle.cell[axis]) for axis in sizes)] = bundle
    fixed = [axis for axis in axes if axis not in sizes]
    where = setting(cells[0], (*GROUP_AXES, *([] if "model" in labels else ["model"]), *fixed), data)
    points = list(dict.fromkeys(point for line in lines.values() for point in line.at))
    return Layout(where, labels, list(lines.values()), points, sizes, data)


def _tables(layout: Layout, floor: NoiseFloor | None) -> Iterator[Table]:
    yield _against_loop(layout, floor)
    if any(library(line) for line in layout.lines):
        yield _against_peers(layout, floor)
    if any(_work_of(line.at[point]) for line in layout.lines for point in line.at):
        yield _rates(layout)


def _against_loop(layout: Layout, floor: NoiseFloor | None) -> Table:
    def figure(line: Line, point: Point) -> str:
        bundle, loop = line.at[point], layout.loop_at(line, point)
        return _time(bundle) if line.engine == LOOP else _speed_up(loop, bundle, floor)

    columns = layout.columns("engine", "library", "error", "compiling")
    rows = []
    for line in layout.lines:
        labels = (*line.label, line.engine, library(line), _error(line), _compiling(line))
        rows.append((*labels, *cells_of(line, layout.points, figure)))
    columns, body = without_empty_columns(columns, rows, ("library", "compiling"))
    notes = [
        "Errors are relative, in float64, the largest of a row: of loop against finite differences of the algorithm's "
        "definition, of the others against loop."
    ]
    if "compiling" in columns:
        notes.append(
            "Compiling: what the first iteration takes longer than later ones; median over those whose cache was cold."
        )
    return Table(
        f"Engines against loop: {layout.where}",
        "Time of one meta-iteration on loop; how many times faster the other engines do the same, with 95 % intervals.",
        columns,
        body,
        (*notes, *same_notes(body), *([PARTIAL_NOTE] if _partial(body) else [])),
        tuple(ids_of((*line.at.values(), *_loops(layout, line))) for line in layout.lines),
    )


def _against_peers(layout: Layout, floor: NoiseFloor | None) -> Table:
    ours: dict[tuple[tuple[str, ...], Point], list[Bundle]] = {}
    for line in layout.lines:
        for point, bundle in line.at.items():
            if bundle.step and not library(line):
                ours.setdefault((line.label, point), []).append(bundle)

    def figure(line: Line, point: Point) -> str:
        engines = sorted(ours.get((line.label, point), []), key=_seconds)
        if not engines or not line.at[point].step:
            return NOTHING
        return _speed_up(line.at[point], engines[0], floor) + f" ({_fastest(engines, floor)})"

    columns = layout.columns("peer")
    rows = tuple(
        (*line.label, _peer(line), *cells_of(line, layout.points, figure)) for line in layout.lines if library(line)
    )
    return Table(
        f"The fastest engine against each peer: {layout.where}",
        "How many times faster the fastest engine of ours (named in brackets) does the same, with 95 % intervals.",
        columns,
        rows,
        (*same_notes(rows), *([PARTIAL_NOTE] if _partial(rows) else [])),
        tuple(ids_of((*line.at.values(), *_held_against(line, ours))) for line in layout.lines if library(line)),
    )


def _rates(layout: Layout) -> Table:
    works = {
        (line.label, point): work for line in layout.lines for point in line.at if (work := _work_of(line.at[point]))
    }

    def figure(line: Line, point: Point) -> str:
        work, step = works.get((line.label, point)), line.at[point].step
        if not work or not step:
            return NOTHING
        rate, peaks = work.flops / step.value, work.peaks
        share = rate / max(peaks.matmul, peaks.convolution)
        text = f"{rate / 1e9:.3g} GFLOP/s, {100 * share:.2g} %{NOISY if peaks.noisy else ''}"
        return Valued(text, rate)

    rows = tuple((*line.label, line.engine, *cells_of(line, layout.points, figure)) for line in layout.lines)
    notes = [
        "The operations are those of loop's matrix products and convolutions, as torch counts them, whatever way an "
        "engine takes to the same direction: one with fewer of them (Winograd's convolutions) can go beyond the peak."
    ]
    if any(NOISY in text for row in rows for text in row):
        notes.append(f"{NOISY}: the peak was measured while its timings were noisy; the share is no better than that.")
    return Table(
        f"Achieved rate: {layout.where}",
        "Floating-point operations per second, and their share of the highest rate that a large matrix product or "
        "convolution reached in the same process with the same threads.",
        layout.columns("engine", only="rate"),
        rows,
        tuple(notes),
        tuple(ids_of((*line.at.values(), *_loops(layout, line))) for line in layout.lines),
    )


def _loops(layout: Layout, line: Line) -> list[Bundle]:
    return [layout.loop_at(line, point) for point in line.at]


def _held_against(line: Line, ours: Mapping[tuple[tuple[str, ...], Point], list[Bundle]]) -> list[Bundle]:
    return [engine for point in line.at for engine in ours.get((line.label, point), [])]


def _work_of(bundle: Bundle) -> Work | None:
    return next((row.work for row in bundle.rows if row.work), None)


def cells_of(line: Line, points: list[Point], figure: Callable[[Line, Point], str]) -> tuple[str, ...]:
    """The texts of a line, empty where it has no bundle."""
    return tuple(figure(line, point) if point in line.at else "" for point in points)


def _partial(rows: Sequence[Sequence[str]]) -> bool:
    return any(PARTIAL in text for row in rows for text in row)


def library(line: Line) -> str:
    """Name and version of what does the work, if it is not torch."""
    return next((row.library for bundle in line.at.values() for row in bundle.rows if row.library), "")


def _peer(line: Line) -> str:
    """Its library, and which of that library's engines it is if there may be several."""
    name = library(line)
    return name if name.split(" ")[0] == line.engine else f"{line.engine} ({name})"


def _compiling(line: Line) -> str:
    times = [row.time for bundle in line.at.values() for row in bundle.rows if row.time]
    cold = [time.compile_s for time in times if time.compile_cache == "cold"]
    return duration_text(median(cold)) if cold else ""


def _time(loop: Bundle) -> str:
    return _marked(loop, time_text(loop.step)) if loop.step else _word(loop)


def _seconds(bundle: Bundle) -> float:
    return bundle.step.value if bundle.step else math.inf


def _fastest(engines: Sequence[Bundle], floor: NoiseFloor | None) -> str:
    """The first, and in a run with a noise floor those that do not differ from it."""
    best, *others = engines
    ratios = [(other, ratio_interval(other.samples, best.samples)) for other in others] if floor else []
    alike = [other for other, ratio in ratios if ratio and not differs(ratio, floor)]
    return f"{SAME} ".join(str(bundle.cell.engine) for bundle in [best, *alike])


def _speed_up(loop: Bundle, other: Bundle, floor: NoiseFloor | None) -> str:
    if not other.samples:
        return _word(other)
    ratio = ratio_interval(loop.samples, other.samples)
    return _marked(other, ratio_text(ratio, floor)) if ratio else NO_LOOP


def _marked(bundle: Bundle, figure: str) -> str:
    return figure + PARTIAL if is_partial(bundle) else figure


def _word(bundle: Bundle) -> str:
    return NOTHING if status(bundle) == "ok" else status(bundle)


def _error(line: Line) -> str:
    """The largest error that the gate found in any row."""
    name = "definition_error" if line.engine == LOOP else "engine_error"
    errors = [getattr(row.gate, name) for bundle in line.at.values() for row in bundle.rows if row.gate]
    if not errors:
        return NOTHING
    finite = [error for error in errors if error is not None]
    return error_text(max(finite) if len(finite) == len(errors) else None)
