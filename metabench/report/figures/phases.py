"""Where the time of a meta-iteration goes: a bar for each implementation, divided into its phases."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metabench.record.cell import DISTRIBUTION
from metabench.report.axes import TECHNIQUES
from metabench.report.figures import shown
from metabench.report.figures.axes import Axis
from metabench.report.figures.base import PART, Figure, Group, Panel, Spec, figure_of, frame_of, shared
from metabench.report.figures.marks import layer, only, rows_channel, with_interval
from metabench.report.figures.style import INK, PAPER
from metabench.report.figures.tips import seconds_text, tip, told
from metabench.report.numbers import duration_text
from metabench.report.render.tables import setting
from metabench.report.results import Run
from metabench.statistics.ratios import Interval, with_noise

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
"""Blue is the inner loop's, warm the outer's. They always stand in this order, left to right, and have its numbers."""
DARK = ("inner backward", "outer backward", "directions", "optimiser", "meta-iteration")
ON_DARK_PHASE, ON_LIGHT_PHASE = "#fefefe", "#010101"
"""What is written on a phase, which has its colour on a dark page too: neither follows the colour of the page."""
SETTING_AXES = (
    *(*DISTRIBUTION, "ways", "shots", "query", "model", "inner_steps", "meta_batch"),
    *("device", "precision", "threads", "world_size", "machine"),
)
SAMPLING = "sampling"
SAYS = (
    "Each bar is one meta-iteration, divided into its phases. The black line below it is the 95 % interval of the same "
    "meta-iteration without instrumentation. An engine that runs as one piece has no phases inside. The sampling of "
    "tasks is not included."
)
WIDTH, ROW = 320, 26
LEAST_SHARE = 0.03
"""Share of the axis: a narrower piece has no number in it."""


@shown(80)
def phases(run: Run) -> Figure | None:
    """A panel for each setting in which phases were measured, the fastest implementation first."""
    groups = _rows(run)
    used = [name for name in COLOURS if any(row["phase"] == name for rows in groups for row in rows)]
    settings = [rows[0]["setting"] for rows in groups]
    legend = {f"{number} {name}": COLOURS[name] for number, name in enumerate(used, 1)}
    title = "Where the time of a meta-iteration goes"
    found: list[Group] = []
    for task in dict.fromkeys(text.partition(PART)[0] for text in settings):
        here = [rows for rows, text in zip(groups, settings, strict=True) if text.partition(PART)[0] == task]
        common, rest = shared([rows[0]["setting"] for rows in here])
        panels = [_panel(rows, own, used, not found) for rows, own in zip(here, rest, strict=True)]
        found.append(Group(common, panels, legend={} if found else legend))
    return figure_of(run, "phases", title, SAYS, found)


def _rows(run: Run) -> list[list[dict[str, Any]]]:
    """The frame's rows, by setting."""
    axes = (*SETTING_AXES, *(axis for axis in TECHNIQUES if axis not in SETTING_AXES))
    groups: dict[tuple[Any, ...], list[tuple[float, list[dict[str, Any]]]]] = {}
    for bundle in run.timed:
        found = next((row.phases for row in bundle.sound if row.phases), None)
        if found is None:
            continue
        parts = {n: found.seconds[n] for n in COLOURS if n in found.seconds and n != SAMPLING}
        total, step = (
            sum(part.value for part in parts.values()),
            with_noise(Interval(found.step.median, found.step.low, found.step.high), run.noise),
        )
        if total > 0:
            where = setting(bundle.cell, axes, run.data_names)
            head = {"setting": where, "implementation": bundle.cell.implementation}
            tail: dict[str, Any] = {"step_s": step.value, "step_low_s": step.low, "step_high_s": step.high}
            tail |= {"total": duration_text(total), "cells": " ".join(bundle.ids)}
            bar = [
                {**head, "phase": phase, "seconds": part.value, "low": part.low, "high": part.high, **tail}
                for phase, part in parts.items()
            ]
            groups.setdefault(tuple(bundle.cell[axis] for axis in axes), []).append((total, bar))
    return [[row for _, bar in sorted(bars, key=lambda bar: bar[0]) for row in bar] for bars in groups.values()]


def _panel(rows: Sequence[dict[str, Any]], title: str, used: Sequence[str], legend: bool) -> Panel:
    frame = frame_of(rows)
    names = list(dict.fromkeys(frame["implementation"]))
    known = frame["step_high_s"].replace(math.inf, 0.0)
    x = time_axis(1.15 * max(frame.groupby("implementation")["seconds"].sum().max(), known.max()))
    y = rows_channel("implementation", names)
    begin, end = x.at("begin"), {"field": "end"}
    by = ["implementation"]
    stacked = {"stack": "seconds", "groupby": by, "as": ["begin", "end"]}
    numbered = {"calculate": f"indexof({list(used)}, datum.phase) + 1", "as": "number"}
    wide = only(f"datum.end - datum.begin > {LEAST_SHARE * x.limits[1]}")
    middle = {"calculate": "(datum.begin + datum.end) / 2", "as": "middle"}
    across = {"x": x.at("step_low_s"), "x2": {"field": "step_high_s"}}
    counted = {"window": [{"op": "row_number", "as": "place"}], "groupby": by}
    first = only("datum.place === 1")
    whole = {"joinaggregate": [{"op": "max", "field": "end", "as": "end"}], "groupby": by}
    beside = {"calculate": "max(datum.end, datum.step_high_s)", "as": "beside"}
    number = {"type": "text", "fontSize": 9}
    colours = phase_channel(used) | ({} if legend else {"legend": None})
    interval = {"type": "rule", "color": INK, "yOffset": 10}
    text = {"type": "text", "align": "left", "dx": 6, "color": INK}
    layers = [
        layer({"type": "bar", "height": 14, "stroke": PAPER}, x=begin, x2=end, y=y, color=colours),
        layer(number, numbered, wide, middle, x=x.at("middle"), y=y, text={"field": "number"}, fill=phase_ink(used)),
        layer(interval, counted, first, with_interval("step_high_s"), **across, y=y),
        layer(text, counted, whole, first, beside, x=x.at("beside"), y=y, text={"field": "total"}),
    ]
    return Panel(title, frame, layers, WIDTH, ROW * len(names), [stacked], tips=[_tip(row) for row in rows])


def _tip(row: Mapping[str, Any]) -> str:
    step = Interval(row["step_s"], row["step_low_s"], row["step_high_s"])
    part = f"{row['phase']}: {seconds_text(told(row, 'seconds'))} of {row['total']}"
    return tip(row["implementation"], part, f"without instrumentation: {seconds_text(step)}")


def time_axis(longest: float, title: str = "per meta-iteration") -> Axis:
    """An axis of milliseconds that begins at 0; `longest` is in seconds."""
    return Axis(f"ms {title}", "linear", (0.0, longest), (), "format(1000 * datum.value, '~g')", grid=True)


def phase_channel(used: Sequence[str], colours: Mapping[str, str] = COLOURS) -> Spec:
    """The colour of a phase, with a legend that numbers them in their order."""
    scale = {"domain": list(used), "range": [colours[name] for name in used]}
    legend = {"title": None, "orient": "top", "columns": 4, "labelExpr": "(datum.index + 1) + ' ' + datum.label"}
    return {"field": "phase", "type": "nominal", "scale": scale, "legend": legend}


def phase_ink(used: Sequence[str]) -> Spec:
    """The colour of what is written on a phase, as a channel."""
    scale = {"domain": list(used), "range": [ON_DARK_PHASE if name in DARK else ON_LIGHT_PHASE for name in used]}
    return {"field": "phase", "type": "nominal", "scale": scale, "legend": None}
