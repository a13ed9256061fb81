"""Where the time of a meta-iteration goes: a bar for each implementation, divided into its phases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.bundles import bundles, order, time_key
from metabench.report.document import data_names
from metabench.report.figures.picture import Picture
from metabench.report.figures.placing import add_axes, add_text, inches
from metabench.report.figures.style import FAINT, INK, OTHER, WIDTH, label, styled
from metabench.report.numbers import duration_text
from metabench.report.render.tables import TECHNIQUE_AXES, setting
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

COLOURS: Mapping[str, str] = {
    "inner forward": "#56b4e9",
    "inner backward": "#0072b2",
    "inner update": "#9fc9e3",
    "query": "#f0e442",
    "outer backward": "#d55e00",
    "implicit solve": "#cc79a7",
    "average": "#bdbdbd",
    "directions": "#7a6652",
    "optimiser": "#009e73",
    "meta-iteration": "#4d4d4d",
    "sampling": "#e0e0e0",
}
"""Blue is the inner loop's, warm the outer's. They always stand in this order, left to right."""
DARK = ("inner backward", "outer backward", "directions", "optimiser", "meta-iteration")
SETTING_AXES = (
    *("task", "ways", "shots", "query", "model", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "world_size", "machine"),
)
SAMPLING = "sampling"
TITLE = "Where the time of a meta-iteration goes"
SAYS = (
    "Each bar is one meta-iteration, divided into its phases; the black line is the 95 % interval of the same "
    "meta-iteration without marks. Engines that run as one piece have no phases inside. Sampling of tasks is not in it."
)
HEAD_INCHES, PANEL_INCHES, BAR_INCHES, FOOT_INCHES, LINE_INCHES = 0.5, 0.65, 0.27, 0.3, 0.16
EDGE_INCHES, BELOW_INCHES = 0.1, 0.45
LETTERS_PER_INCH = 14.0
IN_A_ROW = 6


@dataclass(frozen=True)
class Bar:
    """One implementation."""

    name: str
    parts: tuple[tuple[str, Interval], ...]
    """Phases in their order, in seconds."""
    step: Interval
    """The meta-iteration without marks."""
    cells: tuple[str, ...]

    @property
    def total(self) -> float:
        """Of the phases."""
        return sum(figure.value for _, figure in self.parts)


@dataclass(frozen=True)
class Panel:
    """The implementations in one setting, the fastest first."""

    title: str
    bars: tuple[Bar, ...]


def phase_colour(phase: str) -> str:
    """The same in every picture."""
    return COLOURS.get(phase, OTHER)


def phase_ink(phase: str) -> str:
    """Of what is written on it."""
    return "#ffffff" if phase in DARK else INK


def phases_picture(run: Run) -> Picture | None:
    """None where no phases were measured."""
    panels = phase_panels(run.measurements, data_names(run.measurements))
    if not panels:
        return None
    machine = run.environment.summary
    return Picture("phases", TITLE, SAYS, _data(panels), lambda: draw_phases(panels, machine))


def phase_panels(rows: Sequence[Measurement], data: Mapping[str, str]) -> list[Panel]:
    """What is drawn: a panel for each setting."""
    groups: dict[tuple[Any, ...], list[tuple[Cell, Bar]]] = {}
    for bundle in sorted(bundles(rows, time_key), key=lambda b: order(b.cell)):
        found = next((row.phases for row in bundle.rows if row.status == "ok" and row.phases), None)
        if found is None or any(row.status == "incorrect" for row in bundle.rows):
            continue
        parts = tuple(
            (name, Interval(found.seconds[name].value, found.seconds[name].low, found.seconds[name].high))
            for name in COLOURS
            if name in found.seconds and name != SAMPLING
        )
        step = Interval(found.step.median, found.step.low, found.step.high)
        name = label(f"{bundle.cell.algorithm}/{bundle.cell.engine}")
        bar = Bar(name, parts, step, bundle.ids)
        if bar.total > 0:
            key = tuple(bundle.cell[axis] for axis in (*SETTING_AXES, *TECHNIQUE_AXES))
            groups.setdefault(key, []).append((bundle.cell, bar))
    axes = (*SETTING_AXES, *(axis for axis in TECHNIQUE_AXES if axis not in SETTING_AXES))
    return [
        Panel(label(setting(group[0][0], axes, data)), tuple(sorted((bar for _, bar in group), key=lambda b: b.total)))
        for group in groups.values()
    ]


def _data(panels: Sequence[Panel]) -> pd.DataFrame:
    columns = ("setting", "implementation", "phase", "seconds", "low", "high", "step_s", "cells")
    return pd.DataFrame(
        [
            (panel.title, bar.name, name, part.value, part.low, part.high, bar.step.value, " ".join(bar.cells))
            for panel in panels
            for bar in panel.bars
            for name, part in bar.parts
        ],
        columns=columns,
    )


def draw_phases(panels: Sequence[Panel], machine: str) -> Figure:
    """Stacked bars from 0 in ms, a panel below the other."""
    across = WIDTH - 2 * EDGE_INCHES
    titles = [wrap(panel.title, int(across * LETTERS_PER_INCH)) for panel in panels]
    heights = [
        PANEL_INCHES + LINE_INCHES * len(t) + BAR_INCHES * len(p.bars) for p, t in zip(panels, titles, strict=True)
    ]
    names = {name for panel in panels for bar in panel.bars for name, _ in bar.parts}
    used = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if name in names]
    head = HEAD_INCHES + LINE_INCHES * ceil(len(used) / IN_A_ROW)
    with styled():
        figure = Figure(figsize=(WIDTH, head + sum(heights) + FOOT_INCHES))
        add_text(figure, EDGE_INCHES, 0.2, TITLE, fontsize=13, fontweight="bold")
        corner = (EDGE_INCHES / WIDTH, 1 - 0.35 / float(figure.get_size_inches()[1]))
        figure.legend(handles=used, loc="upper left", bbox_to_anchor=corner, ncols=IN_A_ROW, frameon=False, fontsize=8)
        left = EDGE_INCHES + 0.1 + max(inches(bar.name, 9) for panel in panels for bar in panel.bars)
        end = head
        for panel, title, height in zip(panels, titles, heights, strict=True):
            end += height
            bars = BAR_INCHES * len(panel.bars)
            axes = add_axes(figure, left, end - BELOW_INCHES - bars, WIDTH - left - EDGE_INCHES, bars)
            axes.set_title("\n".join(title), loc="left", fontsize=8)
            _draw_panel(panel, axes)
        add_text(figure, EDGE_INCHES, end + FOOT_INCHES / 2, label(machine), fontsize=8, color=FAINT)
    return figure


def _draw_panel(panel: Panel, axes: Axes) -> None:
    for row, bar in enumerate(panel.bars):
        left = 0.0
        for name, part in bar.parts:
            width = part.value * 1e3
            axes.barh(row, width, left=left, height=0.7, color=phase_colour(name), edgecolor="white", linewidth=0.4)
            left += width
        low, high = bar.step.low * 1e3, bar.step.high * 1e3
        axes.plot([low, high], [row, row], color=INK, linewidth=1, solid_capstyle="butt")
        end = max(left, high)
        axes.annotate(duration_text(bar.total), (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    longest = max(max(bar.total, bar.step.high) for bar in panel.bars)
    axes.set_xlim(0, longest * 1e3 * 1.15)
    axes.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars])
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("ms per meta-iteration", fontsize=8)
