"""How many times as fast as `loop` each engine and each peer is."""

from collections.abc import Mapping
from math import inf, log
from statistics import fmean
from typing import Any

import pandas as pd

from metabench.report.bundles import LOOP, ending, is_partial, status
from metabench.report.figures import shown
from metabench.report.figures.axes import TIMES, Axis, log_axis
from metabench.report.figures.base import Figure, Group, Panel, Spec, ends_of, figure_of, frame_of, records
from metabench.report.figures.marks import coloured, layer, only, rows_channel, with_interval
from metabench.report.figures.style import INK, Looks, looks_of
from metabench.report.figures.tips import times_text, tip, told
from metabench.report.marks import PARTIAL
from metabench.report.noise import DRIFTING, SAME, ratio_mark
from metabench.report.numbers import NOTHING, duration_text, trim
from metabench.report.render.tables import setting
from metabench.report.results import Run
from metabench.report.sections.engines import EngineLine, Layout, Point, layouts, library

COLUMNS, ROW, NAMES = 3, 20, 100
WIDTHS = {1: 300, 2: 270, 3: 180}
"""Widths of the axes, by the number of panels side by side."""
ROOM = 6.0
"""How many times as far as the longest bar an axis goes, so that its figure has room beside it."""
SAYS = (
    "Bars: how many times as fast as loop a meta-iteration is; left of 1× it is slower. Black lines: 95 % intervals. "
    "A name with a version is another library, any other name an engine of metabench."
)


@shown(10)
def engines(run: Run) -> Figure | None:
    """A group for each setting with a speed-up over `loop`, and in it a panel for each size of work."""
    looks = looks_of(run)
    groups = [group for layout in layouts(run) if (group := _group(layout, looks))]
    same = any((panel.rows["word"] == SAME.strip()).any() for group in groups for panel in group.panels)
    partial = any((panel.rows["status"] != "").any() for group in groups for panel in group.panels)
    says = SAYS + (f"{SAME}: no difference that can be told." if same else "")
    drifting = any(
        panel.rows["word"].str.contains(DRIFTING.strip()).any() for group in groups for panel in group.panels
    )
    says += f" {DRIFTING.strip()}: a drift of the machine could explain it." if drifting else ""
    ended = "the configuration ended early or failed after its time was measured"
    says += f" {PARTIAL.strip()}: {ended}." if partial else ""
    return figure_of(run, "engines", "Speed-up over loop of one meta-iteration", says, groups)


def _group(layout: Layout, looks: Looks) -> Group | None:
    """Panels that all show the same implementations, the fastest first."""
    lines = sorted((line for line in layout.lines if line.engine != LOOP), key=lambda line: -_typical(layout, line))
    of = {line.label for line in lines}
    where = f"{' '.join(*of)} on {layout.where}" if len(of) == 1 else layout.where
    found = []
    for point in layout.points:
        title, note = _title(layout, point, len(of) == 1)
        head = {"setting": where, "sizes": ", ".join(filter(None, (title, note)))}
        rows = [head | _row(layout, line, point, len(of) > 1) for line in lines]
        found.append((title or note, note if title else "", frame_of(rows)))
    columns = ("speed_up", "low", "high")
    ends = [float(end) for _, _, frame in found for name in columns for end in frame[name].dropna() if 0 < end < inf]
    if not ends:
        return None
    x = log_axis("speed-up over loop", [min(1.0, *ends) / 1.15, max(1.0, *ends) * ROOM], grid=True, text=TIMES)
    across = min(COLUMNS, len(found))
    panels = []
    for title, note, frame in found:
        tips = [_tip(row) for row in records(frame)]
        panels.append(Panel(title, frame, _layers(frame, x, looks), WIDTHS[across], ROW * len(lines), (), note, tips))
    return Group(where, panels, across)


def _tip(row: Mapping[str, Any]) -> str:
    if row["speed_up"] is None:
        return tip(row["implementation"], row["word"])
    same = "no difference that can be told" if SAME.strip() in row["word"] else ""
    ratio = told(row, "speed_up")
    return tip(row["implementation"], f"{times_text(ratio)} times as fast as loop", same, row["status"])


def _layers(frame: pd.DataFrame, x: Axis, looks: Looks) -> list[Spec]:
    colours = coloured(looks.engines, "engine")
    y = rows_channel("implementation", list(dict.fromkeys(frame["implementation"])), least=NAMES)
    text = {"type": "text", "align": "left", "dx": 6, "color": INK}
    timed = only("datum.speed_up !== null")
    right = {"calculate": "max(1, isValid(datum.high) ? datum.high : (datum.speed_up || 1))", "as": "right"}
    bar = {"type": "bar", "height": 11, "opacity": 0.85}
    return [
        layer(bar, timed, x=x.at("speed_up"), x2={"datum": 1}, y=y, **colours),
        layer({"type": "rule", "color": INK}, with_interval(), x=x.at("low"), x2={"field": "high"}, y=y),
        layer({"type": "rule", "color": INK, "strokeWidth": 1}, x={"datum": 1, "type": "quantitative"}),
        layer(text, right, x=x.at("right"), y=y, text={"field": "text"}),
    ]


def _row(layout: Layout, line: EngineLine, point: Point, labelled: bool) -> dict[str, Any]:
    """`word` says what happened where there is no speed-up, or that it is none; `text` is what is written."""
    bundle, ratio = line.at.get(point), layout.speed_up(line, point)
    word = status(bundle) if bundle and not bundle.samples else NOTHING
    if bundle and ratio:
        word = ratio_mark(ratio, bundle.drift * layout.loop_at(line, point).drift)
    marks = word + (PARTIAL if bundle and is_partial(bundle) else "")
    name = library(line) if library(line).startswith(f"{line.engine} ") else line.engine
    return {
        "implementation": " ".join([*(line.label if labelled else ()), name]),
        "engine": line.engine,
        **ends_of(ratio, "speed_up"),
        "word": word,
        "text": f"{trim(ratio.value, ratio.drawn.low, ratio.drawn.high)}×{marks}" if ratio else word,
        "status": ending(bundle) if bundle and is_partial(bundle) else "",
        "cells": " ".join(bundle.ids) if bundle else "",
    }


def _title(layout: Layout, point: Point, alone: bool) -> tuple[str, str]:
    """The sizes; and how long `loop` takes, where it is one algorithm on one model."""
    phrase = setting(dict(point), layout.sizes, layout.data)
    step = next((line.at[point].step for line in layout.lines if line.engine == LOOP and point in line.at), None)
    return phrase, f"loop: {duration_text(step.value)}" if alone and step else ""


def _typical(layout: Layout, line: EngineLine) -> float:
    ratios = [ratio for point in line.at if (ratio := layout.speed_up(line, point))]
    return fmean(log(ratio.value) for ratio in ratios) if ratios else -inf
