"""How time and memory grow with inner steps, model size and meta-batch, with the power laws fitted to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.report.bundles import Bundle, model_sizes, status
from metabench.report.document import data_names
from metabench.report.figures.panels import End, Layout, end_labels, log_axis, panels, size_ticks, widened, within
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import MARKERS, PAPER, Look, engine_colour, look, styled
from metabench.report.numbers import BYTE_UNITS, TIME_UNITS
from metabench.report.render.tables import techniques
from metabench.report.results import Run
from metabench.report.sections.growth import GROWING, TECHNIQUES, growing_lines, growing_setting
from metabench.report.sections.scaling import SYMBOLS, Measure, Scaling, exponent_text, scalings, sizes_of
from metabench.statistics.laws import Law
from metabench.statistics.ratios import Interval

TITLE = "How cost grows: time and memory of one meta-iteration"
SAYS = (
    "Points: measured, bars are 95 % intervals (memory is exact). Lines: the power law fitted to each, its exponent "
    "with its 95 % interval; band: 95 % interval of the law. Without brackets: two sizes, through which any law goes."
)
MEASURES: tuple[Measure, ...] = ("time", "memory")
WORDS = {"time": "Time", "memory": "Peak memory"}


@dataclass(frozen=True)
class Line:
    """One implementation: what was measured, and the law."""

    name: str
    look: Look
    hollow: bool
    points: tuple[tuple[float, Interval, str], ...]
    """Size, figure, ids of the cells behind it."""
    law: Law
    symbol: str

    @property
    def text(self) -> str:
        """The name with the law."""
        return f"{self.name}: {self.symbol}^{exponent_text(self.law.exponent)}"


@dataclass(frozen=True)
class Panel:
    """Time or memory in one setting along one axis."""

    title: str
    axis: str
    measure: Measure
    lines: tuple[Line, ...]


def growth_picture(run: Run) -> Picture | None:
    """None for a run in which nothing was measured at two sizes, all else equal."""
    found = growth_panels(run)
    if not found:
        return None
    machine = run.environment.summary
    return Picture("growth", TITLE, SAYS, _data(found), lambda: draw_growth(found, machine))


def growth_panels(run: Run) -> list[Panel]:
    """For each axis and setting a panel of times and one of memory."""
    rows = run.measurements
    data, sizes = data_names(rows), model_sizes(rows)
    found = []
    for axis, lines in growing_lines(rows):
        where = growing_setting(axis, lines, data)
        for measure in MEASURES:
            if fitted := scalings(axis, lines, measure, sizes):
                title = f"{WORDS[measure]} with {GROWING[axis]}: {where}"
                found.append(Panel(title, axis, measure, _lines(fitted, sizes)))
    return found


def _lines(fitted: Sequence[Scaling], sizes: Mapping[str, int]) -> tuple[Line, ...]:
    """Named by what tells them apart; of one algorithm alone, each engine has its look."""
    algorithms = {one.bundle.algorithm for one in fitted}
    engines = list(dict.fromkeys(str(one.bundle.cell.engine) for one in fitted))
    made = []
    for one in fitted:
        cell, used = one.bundle.cell, techniques(one.bundle.cell, TECHNIQUES)
        engine = str(cell.engine)
        by_engine = len(algorithms) == 1 and len(engines) > 1
        words = [one.bundle.algorithm] * (not by_engine) + [engine] * (len(engines) > 1) + list(used)
        style = look(one.bundle.algorithm)
        if by_engine:
            style = Look(engine_colour(engine), MARKERS[engines.index(engine) % len(MARKERS)], "-")
        hollow = bool(used) or (not by_engine and engine != engines[0])
        lost = [f"{status(b)} at {v}" for v, b in one.line.items() if _figure(b, one.measure) is None]
        name = " ".join(words) + (f" ({', '.join(lost)})" if lost else "")
        made.append(Line(name, style, hollow, _points(one, sizes), one.law, SYMBOLS[one.axis]))
    return tuple(made)


def _points(one: Scaling, sizes: Mapping[str, int]) -> tuple[tuple[float, Interval, str], ...]:
    points = [
        (size, figure, " ".join(dict.fromkeys(str(row.id) for row in bundle.rows)))
        for value, bundle in one.line.items()
        if (size := sizes_of(one.axis, value, sizes)) in one.law.sizes and (figure := _figure(bundle, one.measure))
    ]
    return tuple(sorted(points, key=lambda point: point[0]))


def _figure(bundle: Bundle, measure: Measure) -> Interval | None:
    if measure == "time":
        return bundle.step
    return Interval(*[float(bundle.peak.bytes)] * 3) if bundle.peak else None


def _data(found: Sequence[Panel]) -> pd.DataFrame:
    columns = ("panel", "name", "measure", "axis", "size", "value", "low", "high", "law")
    return pd.DataFrame(
        [
            (
                *(panel.title, line.name, panel.measure, panel.axis, size, figure.value, figure.low, figure.high),
                *(line.law.at(size).value, line.law.exponent.value, *_ends(line.law), line.law.r_squared, cells),
            )
            for panel in found
            for line in panel.lines
            for size, figure, cells in line.points
        ],
        columns=(*columns, "exponent", "exponent_low", "exponent_high", "r_squared", "cells"),
    )


def _ends(law: Law) -> tuple[float | None, float | None]:
    found = law.exponent.interval
    return (found.low, found.high) if found else (None, None)


def draw_growth(found: Sequence[Panel], machine: str) -> Figure:
    """A panel for each axis, setting and measure; both axes are logarithmic."""
    with styled():
        layouts = [Layout(panel.title, len(panel.lines), partial(_draw, panel)) for panel in found]
        return panels(TITLE, SAYS, machine, layouts)


def _draw(panel: Panel, axes: Axes, inches: float) -> None:
    sizes = [size for line in panel.lines for size, _, _ in line.points]
    across = widened(sizes)
    log_axis(axes.xaxis, *across)
    size_ticks(axes.xaxis, sizes, *across)
    axes.set_xlabel("parameters" if panel.axis == "model" else GROWING[panel.axis])
    limits = widened(within([figure for line in panel.lines for _, figure, _ in line.points]))
    log_axis(axes.yaxis, *limits, TIME_UNITS if panel.measure == "time" else BYTE_UNITS)
    axes.set_ylabel(WORDS[panel.measure].lower())
    axes.grid(axis="both")
    ends = []
    for line in panel.lines:
        colour = line.look.colour
        along = np.geomspace(line.law.sizes[0], line.law.sizes[-1], 25)
        laws = [line.law.at(float(size)) for size in along]
        bands = [law.interval for law in laws if law.interval]
        if len(bands) == len(laws):
            axes.fill_between(along, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.1, lw=0)
        axes.plot(along, [law.value for law in laws], color=colour, linestyle=line.look.line, linewidth=1.1)
        for size, figure, _ in line.points:
            axes.plot([size, size], [figure.drawn.low, figure.drawn.high], color=colour, linewidth=1)
        axes.plot(
            [size for size, _, _ in line.points],
            [figure.value for _, figure, _ in line.points],
            linestyle="none",
            marker=line.look.marker,
            color=colour,
            markerfacecolor=PAPER if line.hollow else colour,
            markersize=4.5,
            zorder=3,
        )
        end = min(max(laws[-1].value, limits[0]), limits[1])
        ends.append(End(line.law.sizes[-1], end, line.text, colour, line.look.marker, hollow=line.hollow))
    end_labels(axes, ends, inches)
