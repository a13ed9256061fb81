"""The time of a cell from revision to revision, with its levels and where they change."""

from metabench.report.compare.history import CellHistory, MachineHistory
from metabench.report.compare.tables import cell_text
from metabench.report.figures.axes import Axis, even_axis
from metabench.report.figures.base import Figure, Group, Panel, ends_of, frame_of
from metabench.report.figures.marks import layer, only, with_interval
from metabench.report.figures.style import INK, series

MOST_LABELS = 12  # more would overlap
WIDTH, HEIGHT = 520, 200
SAYS = (
    "Points: time of a meta-iteration with its 95 % interval. Black lines: the median of each level; dashed: where a "
    "new level begins."
)


def history_figure(history: MachineHistory, line: CellHistory) -> Figure:
    """Time with its interval against revision, of a line that has times."""
    levels = {i: (n, level) for n, (columns, level) in enumerate(line.levels) for i in columns}
    rows = [
        {
            "position": i,
            "revision": history.columns[i].label,
            **ends_of(time, "seconds"),
            "level": levels[i][0],
            "level_seconds": levels[i][1],
            "change_point": i in line.steps,
            "cells": line.id,
        }
        for i, time in enumerate(line.times)
        if time
    ]
    last = len(history.columns)
    x = Axis("", "linear", (-0.5, last - 0.5), drawn=False)
    known = [end for time in line.times if time for end in (time.drawn.high, time.value)]
    y = even_axis("time of a meta-iteration", max(known), "time")
    at, look = x.at("position"), series(1)
    before = {"calculate": "datum.position - 0.5", "as": "before"}
    some = only(f"datum.position % {-(-last // MOST_LABELS)} == 0")
    level = {"field": "level", "type": "nominal"}
    turned = {"type": "text", "angle": -30, "align": "right", "limit": 180}
    step = {"type": "rule", "color": series(2).colour, "strokeDash": [5, 3]}
    layers = [
        layer(step, only("datum.change_point"), before, x=x.at("before")),
        layer({"type": "rule", "color": look.colour}, with_interval(), x=at, y=y.at("low"), y2={"field": "high"}),
        layer({"type": "line", "color": look.colour, "strokeWidth": 1}, x=at, y=y.at("seconds")),
        layer({"type": "point", "filled": True, "color": look.colour}, x=at, y=y.at("seconds")),
        layer({"type": "line", "color": INK}, x=at, y=y.at("level_seconds"), detail=level),
        layer(turned, some, x=at, y={"value": HEIGHT + 10}, text={"field": "revision"}),
    ]
    panel = Panel(cell_text(line.cell), frame_of(rows), layers, WIDTH, HEIGHT)
    return Figure("history", "Time from revision to revision", SAYS, history.machine, [Group("", [panel], columns=1)])
