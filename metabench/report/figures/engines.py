"""How many times as fast as `loop` each engine and each peer is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, log
from statistics import fmean

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, status
from metabench.report.document import data_names
from metabench.report.figures.picture import Picture
from metabench.report.figures.placing import add_axes, add_text, inches
from metabench.report.figures.style import FAINT, INK, WIDTH, engine_colour, label, styled
from metabench.report.noise import SAME, NoiseFloor, differs, noise_floor
from metabench.report.numbers import NOTHING, duration_text, trim
from metabench.report.render.tables import setting
from metabench.report.results import Run
from metabench.report.sections.engines import LOOP, Layout, Line, Point, layouts, library
from metabench.statistics.ratios import Ratio, ratio_interval

COLUMNS = 3
HEAD_INCHES, GROUP_INCHES, PANEL_INCHES, BAR_INCHES, FOOT_INCHES = 0.4, 0.3, 0.95, 0.25, 0.5
TITLE_INCHES = 0.45  # of a panel: the rest of what is around its bars is below
EDGE_INCHES, GAP_INCHES = 0.1, 0.2
ROOM = 6.0
"""How many times as far as the longest bar an axis goes, so that its figure has room beside it."""
TITLE = "One meta-iteration: how many times as fast as on loop"
SAYS = (
    "Lines are 95 % intervals; left of 1× is slower than loop. "
    "Bold: metabench's own engines; with a version: other libraries."
)


@dataclass(frozen=True)
class Bar:
    """One implementation; `word` says what happened where there is no speed-up, or that it is none."""

    label: str
    engine: str
    ours: bool
    speed_up: Ratio | None
    word: str
    cells: tuple[str, ...] = ()
    """Ids of what was measured."""


@dataclass(frozen=True)
class Panel:
    """The implementations at one size of work."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Group:
    """The sizes of work in one setting; the same implementations in the same order in every panel."""

    title: str
    panels: tuple[Panel, ...]


def engines_picture(run: Run) -> Picture | None:
    """None where nothing was timed beside `loop`."""
    rows = run.measurements
    groups = engine_groups(rows, data_names(rows), noise_floor(run.references))
    if not groups:
        return None
    machine = run.environment.summary
    return Picture("engines", TITLE, SAYS, _data(groups), lambda: draw_engines(groups, machine))


def _data(groups: Sequence[Group]) -> pd.DataFrame:
    columns = ("setting", "sizes", "implementation", "speed_up", "low", "high", "word", "cells")
    return pd.DataFrame(
        [
            (group.title, panel.title.replace("\n", ", "), bar.label, *_figures(bar), bar.word, " ".join(bar.cells))
            for group in groups
            for panel in group.panels
            for bar in panel.bars
        ],
        columns=columns,
    )


def _figures(bar: Bar) -> tuple[float | None, float | None, float | None]:
    ratio = bar.speed_up
    return (ratio.value, ratio.low, ratio.high) if ratio else (None, None, None)


def engine_groups(rows: Sequence[Measurement], data: Mapping[str, str], floor: NoiseFloor | None) -> list[Group]:
    """What is drawn, the fastest implementation first: a group for each setting with a speed-up over `loop`."""
    groups = [_group(layout, floor) for layout in layouts(rows, data)]
    return [group for group in groups if any(bar.speed_up for panel in group.panels for bar in panel.bars)]


def _group(layout: Layout, floor: NoiseFloor | None) -> Group:
    lines = sorted((line for line in layout.lines if line.engine != LOOP), key=lambda line: -_typical(layout, line))
    of = {line.label for line in lines}
    alone = len(of) == 1
    panels = tuple(
        Panel(_title(layout, point, alone), tuple(_bar(layout, line, point, not alone, floor) for line in lines))
        for point in layout.points
    )
    return Group(label(f"{' '.join(*of)} on {layout.where}" if alone else layout.where), panels)


def _bar(layout: Layout, line: Line, point: Point, labelled: bool, floor: NoiseFloor | None) -> Bar:
    name = library(line) if library(line).startswith(f"{line.engine} ") else line.engine
    text = label(" ".join([*(line.label if labelled else ()), name]))
    bundle, ratio = line.at.get(point), _speed_up(layout, line, point)
    if ratio:
        word = SAME if floor and not differs(ratio, floor) else ""
    else:
        word = status(bundle) if bundle and not bundle.samples else NOTHING
    cells = bundle.ids if bundle else ()
    return Bar(text, line.engine, not library(line), ratio, word, cells)


def _title(layout: Layout, point: Point, alone: bool) -> str:
    """The sizes; and how long `loop` takes, where it is one algorithm on one model."""
    phrase = setting(dict(point), layout.sizes, layout.data)
    step = next((line.at[point].step for line in layout.lines if line.engine == LOOP and point in line.at), None)
    parts = [phrase, f"loop: {duration_text(step.value)}" if alone and step else ""]
    return "\n".join(label(part) for part in parts if part)


def _speed_up(layout: Layout, line: Line, point: Point) -> Ratio | None:
    bundle: Bundle | None = line.at.get(point)
    return ratio_interval(layout.loop_at(line, point).samples, bundle.samples) if bundle else None


def _typical(layout: Layout, line: Line) -> float:
    """The mean logarithm of its speed-ups."""
    ratios = [ratio for point in line.at if (ratio := _speed_up(layout, line, point))]
    return fmean(log(ratio.value) for ratio in ratios) if ratios else -inf


def draw_engines(groups: Sequence[Group], machine: str) -> Figure:
    """Bars from 1× on a logarithmic axis, a panel for each size of work."""
    with styled():
        columns = min(COLUMNS, max(len(group.panels) for group in groups))
        heights = [
            GROUP_INCHES + ceil(len(group.panels) / columns) * (PANEL_INCHES + BAR_INCHES * len(group.panels[0].bars))
            for group in groups
        ]
        figure = Figure(figsize=(WIDTH, HEAD_INCHES + sum(heights) + FOOT_INCHES))
        add_text(figure, EDGE_INCHES, HEAD_INCHES / 2, TITLE, fontsize=13, fontweight="bold")
        top = HEAD_INCHES
        for group, height in zip(groups, heights, strict=True):
            _draw_group(group, columns, figure, top)
            top += height
        same = any(bar.word == SAME for group in groups for panel in group.panels for bar in panel.bars)
        says = f"{SAYS}{' ≈: no difference that can be told.' if same else ''}\n{label(machine)}"
        add_text(figure, EDGE_INCHES, top + FOOT_INCHES / 2, says, fontsize=8, color=FAINT)
        return figure


def _draw_group(group: Group, columns: int, figure: Figure, top: float) -> None:
    add_text(figure, EDGE_INCHES, top + GROUP_INCHES / 2, group.title, fontsize=10)
    ratios = [bar.speed_up.drawn for panel in group.panels for bar in panel.bars if bar.speed_up]
    low, high = min(1.0, *(r.low for r in ratios)), max(1.0, *(r.high for r in ratios))
    names = max(inches(bar.label, 9, bar.ours) for bar in group.panels[0].bars)
    left = EDGE_INCHES + names + GAP_INCHES / 2
    width = (WIDTH - left - EDGE_INCHES) / columns
    bars = BAR_INCHES * len(group.panels[0].bars)
    for number, panel in enumerate(group.panels):
        row, column = divmod(number, columns)
        begin = top + GROUP_INCHES + row * (PANEL_INCHES + bars) + TITLE_INCHES
        axes = add_axes(figure, left + column * width, begin, width - GAP_INCHES, bars)
        _draw_panel(panel, axes)
        axes.set_xlim(low / 1.3, high * ROOM)
        if column:
            axes.set_yticklabels([])
        if number + columns >= len(group.panels):  # none below it
            axes.set_xlabel("times as fast as loop")


def _draw_panel(panel: Panel, axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_title(panel.title, loc="left")
    for row, bar in enumerate(panel.bars):
        if ratio := bar.speed_up:
            axes.barh(row, ratio.value - 1, left=1, height=0.7, color=engine_colour(bar.engine))
            low, high = ratio.drawn.low, ratio.drawn.high
            axes.plot([low, high], [row, row], color=INK, linewidth=1, solid_capstyle="butt")
            text, end = f"{trim(ratio.value, low, high)}×{bar.word}", max(1.0, high)
        else:
            text, end = bar.word, 1.0
        axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(panel.bars)))
    labels = axes.set_yticklabels([bar.label for bar in panel.bars])
    for written, bar in zip(labels, panel.bars, strict=True):
        written.set_fontweight("bold" if bar.ours else "normal")
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
