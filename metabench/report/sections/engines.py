"""How much faster each engine is than `loop`, the baseline of engines, and the fastest of ours than each peer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from metabench.grouping import grouped
from metabench.record.cell import varying
from metabench.record.measurement import Measurement, Work
from metabench.report.axes import MACHINE, TASK, in_title_order
from metabench.report.bundles import (
    LOOP,
    Bundle,
    by_axes,
    ids_of,
    is_partial,
    telling_apart,
    time_ratio_of,
    values_of,
    work_key,
)
from metabench.report.marks import MARKS, PARTIAL, disturbed_mark
from metabench.report.noise import SAME, ratio_text
from metabench.report.numbers import NOTHING, Valued, duration_text, error_text, percent
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.report.sections.base import Column, matched_axes, section, table_of
from metabench.report.sections.columns import status_or_nothing, step_text
from metabench.statistics.ratios import Ratio

GROUP = in_title_order((*TASK, "precision", *MACHINE))
NO_LOOP = "no time of loop"
NOISY = " *"
ERRORS = (
    "error: the largest relative error of a row, in float64: of loop against finite differences of the algorithm's "
    "definition, of the others against loop."
)
COMPILING = "compiling: how much longer the first iteration takes than later ones; median over cold caches."
OPERATIONS = (
    "The operations are those of loop's matrix products and convolutions, as torch counts them. An engine that needs "
    "fewer for the same result (Winograd's convolutions) can exceed the peak."
)
NOISY_PEAK = f"{NOISY}: the timings of the peak rate were noisy; the share is no better than that."
Point: TypeAlias = tuple[tuple[str, Any], ...]
"""The sizes of a piece of work: a column."""


class EngineLine(NamedTuple):
    """An implementation on a model, and its bundles by column: a row."""

    label: tuple[str, ...]
    engine: str
    at: dict[Point, Bundle]

    @property
    def rows(self) -> list[Measurement]:
        """The rows of all bundles of the line."""
        return [row for bundle in self.at.values() for row in bundle.rows]


Figure: TypeAlias = Callable[[EngineLine, Point], str]


@dataclass(frozen=True)
class Layout:
    """What the tables of one setting share."""

    where: str
    labels: list[str]
    lines: list[EngineLine]
    points: list[Point]
    sizes: list[str]
    data: Mapping[str, str]

    def columns(
        self,
        figure: Figure,
        *between: Column[EngineLine],
        only: str = "speed-up",
        after: Sequence[Column[EngineLine]] = (),
    ) -> list[Column[EngineLine]]:
        """Labels, others, and a figure for each point; `only` is the title where there is but one."""

        def label(i: int, name: str) -> Column[EngineLine]:
            return Column(name, lambda line: line.label[i])

        def at(point: Point) -> Column[EngineLine]:
            cell = next(line.at[point].cell for line in self.lines if point in line.at)
            title = setting(cell, self.sizes, self.data) if self.sizes else only
            return Column(
                title,
                lambda line: figure(line, point) if point in line.at else "",
                droppable=True,
                cost=lambda line: line.at[point].cell if point in line.at else None,
            )

        return [*(label(i, name) for i, name in enumerate(self.labels)), *between, *map(at, self.points), *after]

    @property
    def timed(self) -> bool:
        """Whether any of it has a time."""
        return any(bundle.step for line in self.lines for bundle in line.at.values())

    def loop_at(self, line: EngineLine, point: Point) -> Bundle:
        """The baseline of a line."""
        return next(other for other in self.lines if other.engine == LOOP and other.label == line.label).at[point]

    def speed_up(self, line: EngineLine, point: Point) -> Ratio | None:
        """How many times as fast as loop a line is at a point; None where either has no time."""
        bundle = line.at.get(point)
        return time_ratio_of(self.loop_at(line, point), bundle) if bundle else None

    def ids(self, line: EngineLine) -> tuple[str, ...]:
        """Ids of the cells of a line and of its baseline."""
        return ids_of((*line.at.values(), *(self.loop_at(line, point) for point in line.at)))


ENGINE = Column[EngineLine]("engine", lambda line: line.engine)


@section("Engines against loop", place=80)
def engines_tables(run: Run) -> Iterator[Table]:
    """Tables for each setting in which anything was run with `loop` and with another engine."""
    for layout in layouts(run):
        yield _against_loop(layout)
        if any(library(line) for line in layout.lines):
            yield _against_peers(layout)
        if any(row.work for line in layout.lines for row in line.rows) and layout.timed:
            yield _rates(layout)


def layouts(run: Run) -> Iterator[Layout]:
    """One for each setting in which `loop` and another engine ran, and not for a count of instructions alone."""
    asked = [bundle for bundle in run.timed if any({*row.cell.measure} != {"instructions"} for row in bundle.rows)]
    for group in by_axes(asked, GROUP):
        works = grouped(group, lambda bundle: work_key(bundle.cell))
        engines = {key: {bundle.cell.engine for bundle in work} for key, work in works.items()}
        compared = [bundle for bundle in group if {LOOP} < engines[work_key(bundle.cell)]]
        compared.sort(key=lambda bundle: run.model_sizes(bundle.cell).get(bundle.cell.model, 0))
        if compared:
            yield _layout(compared, run.data_names)


def _layout(group: Sequence[Bundle], data: Mapping[str, str]) -> Layout:
    cells = [bundle.cell for bundle in group]
    axes = matched_axes(cells[0], "model", *GROUP)
    sizes = varying(cells, axes)
    sizes += telling_apart(cells, ("algorithm", "engine", "model", *sizes), ("outer",))
    labels = ["algorithm", *varying(cells, ("model",))]
    lines: dict[tuple[str, ...], EngineLine] = {}
    for bundle in group:
        label = values_of(bundle.cell, labels)
        line = lines.setdefault((*label, bundle.cell.engine), EngineLine(label, bundle.cell.engine, {}))
        line.at[tuple((axis, bundle.cell[axis]) for axis in sizes)] = bundle
    fixed = [axis for axis in ("model", *axes) if axis not in (*labels, *sizes)]
    points = list(dict.fromkeys(point for line in lines.values() for point in line.at))
    return Layout(setting(cells[0], (*GROUP, *fixed), data), labels, list(lines.values()), points, sizes, data)


def _against_loop(layout: Layout) -> Table:
    def figure(line: EngineLine, point: Point) -> str:
        bundle = line.at[point]
        if line.engine != LOOP:
            return _speed_up(layout.speed_up(line, point), bundle, layout.loop_at(line, point))
        return _marked(bundle, Valued(f"1 = {step_text(bundle)}", 1)) if bundle.step else status_or_nothing(bundle)

    columns = layout.columns(
        figure,
        ENGINE,
        after=(
            Column("library", library, droppable=True),
            Column("error", _error, notes=lambda lines: [ERRORS]),
            Column("compiling", _compiling, True, lambda lines: [COMPILING] if any(map(_compiling, lines)) else []),
        ),
    )
    return table_of(
        f"Engines against loop: {layout.where}",
        "Speed-up over loop (1 = same, > 1 = faster) with its 95 % interval; the row of loop says which time is 1.",
        columns,
        layout.lines,
        layout.ids,
    )


def _against_peers(layout: Layout) -> Table:
    def ours(line: EngineLine, point: Point) -> list[Bundle]:
        same = [other for other in layout.lines if other.label == line.label and not library(other)]
        return [bundle for other in same if (bundle := other.at.get(point)) and bundle.step]

    def figure(line: EngineLine, point: Point) -> str:
        engines = sorted(ours(line, point), key=lambda bundle: bundle.step.value if bundle.step else math.inf)
        if not engines or not line.at[point].step:
            return NOTHING
        peer = line.at[point]
        return _speed_up(time_ratio_of(peer, engines[0]), engines[0], peer) + f" ({_fastest(engines)})"

    return table_of(
        f"The fastest engine against each peer: {layout.where}",
        "Speed-up of our fastest engine, named in brackets, over each peer (> 1 = faster) with its 95 % interval.",
        layout.columns(figure, Column("peer", _peer)),
        [line for line in layout.lines if library(line)],
        lambda line: ids_of((*line.at.values(), *(engine for point in line.at for engine in ours(line, point)))),
    )


def _rates(layout: Layout) -> Table:
    works = {
        (line.label, point): work for line in layout.lines for point in line.at if (work := _work_of(line.at[point]))
    }

    def figure(line: EngineLine, point: Point) -> str:
        work, step = works.get((line.label, point)), line.at[point].step
        if not work or not step:
            return NOTHING
        rate, peaks = work.flops / step.value, work.peaks
        share = rate / max(peaks.matmul, peaks.convolution)
        text = f"{rate / 1e9:.3g} GFLOP/s, {percent(share)}{NOISY if peaks.noisy else ''}"
        return Valued(text, rate)

    return table_of(
        f"Achieved rate: {layout.where}",
        "Floating-point operations per second, and their share of the peak: the highest rate of a large matrix product "
        "or convolution in the same process with the same threads.",
        layout.columns(figure, ENGINE, only="rate"),
        layout.lines,
        layout.ids,
        [OPERATIONS],
        marks={NOISY: NOISY_PEAK, **MARKS},
    )


def _work_of(bundle: Bundle) -> Work | None:
    return next((row.work for row in bundle.rows if row.work), None)


def library(line: EngineLine) -> str:
    """Name and version of what does the work, if it is not torch."""
    return next((row.library for row in line.rows if row.library), "")


def _peer(line: EngineLine) -> str:
    """The library of a peer, and which of that library's engines it is if there may be several."""
    name = library(line)
    return name if name.split(" ")[0] == line.engine else f"{line.engine} ({name})"


def _compiling(line: EngineLine) -> str:
    cold = [row.time.compile_s for row in line.rows if row.time and row.time.compile_cache == "cold"]
    return duration_text(median(cold)) if cold else ""


def _fastest(engines: Sequence[Bundle]) -> str:
    """The fastest engine, and those that do not differ from it."""
    best, *others = engines
    alike = [other for other in others if (ratio := time_ratio_of(other, best)) and not ratio.differs]
    return f"{SAME} ".join(bundle.cell.engine for bundle in [best, *alike])


def _speed_up(ratio: Ratio | None, other: Bundle, baseline: Bundle) -> str:
    if not other.samples:
        return status_or_nothing(other)
    if not ratio:
        return NO_LOOP
    return _marked(other, ratio_text(ratio, other.drift * baseline.drift) + disturbed_mark(other, baseline))


def _marked(bundle: Bundle, figure: str) -> str:
    return figure + PARTIAL if is_partial(bundle) else figure


def _error(line: EngineLine) -> str:
    """The largest error that the gate found in any row."""
    name = "definition_error" if line.engine == LOOP else "engine_error"
    errors = [getattr(row.gate, name) for row in line.rows if row.gate]
    return error_text(None if None in errors else max(errors)) if errors else NOTHING
