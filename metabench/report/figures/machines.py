"""How long each piece of work takes on each machine, against the first of them."""

from collections.abc import Mapping
from typing import Any

from metabench.report.figures import shown
from metabench.report.figures.axes import log_axis
from metabench.report.figures.base import Figure, Group, Panel, ends_of, figure_of, frame_of
from metabench.report.figures.marks import End, beside, coloured, end_labels, layer, marked, with_interval
from metabench.report.figures.style import FAINT, label, series
from metabench.report.figures.tips import seconds_text, tip, told
from metabench.report.numbers import duration_text
from metabench.report.results import Run
from metabench.report.sections.machines import machines_of, works_on_machines

SAYS = "Each mark is one piece of work. Below the line it takes less time than on the machine of the horizontal axis."
SIDE = 300


@shown(20)
def machines(run: Run) -> Figure | None:
    """Every piece of work that was timed on the first machine and on another."""
    rows = []
    first = next(iter(machines_of(run.measurements)), "")
    for by_machine in works_on_machines(run):
        base = by_machine.get(first)
        for machine, bundle in by_machine.items():
            if machine != first and base and base.step and bundle.step:
                name, step = bundle.cell.implementation, bundle.step
                cells = " ".join((*base.ids, *bundle.ids))
                other = {"first_machine": first, "first_seconds": base.step.value, "cells": cells}
                rows.append({"implementation": name, "machine": machine, **ends_of(step, "seconds"), **other})
    if not rows:
        return None
    frame = frame_of(rows)
    looks = {name: series(number) for number, name in enumerate(dict.fromkeys(frame["machine"]), 1)}
    both = [*frame["seconds"], *frame["first_seconds"]]
    x = log_axis(f"on {label(first)}", both, "time", grid=True)
    y = log_axis("on the other machine", both, "time", grid=True)
    longest = frame.loc[frame.groupby("machine")["seconds"].idxmax()]
    places = zip(longest["machine"], longest["first_seconds"], longest["seconds"], strict=True)
    named = [End(*place, place[0]) for place in places]
    ends = [{"seconds": limit, "first_seconds": limit} for limit in x.limits]
    at = {"x": x.at("first_seconds"), "y": y.at("seconds")}
    layers = [
        *beside(ends, [layer({"type": "line", "color": FAINT, "strokeWidth": 1}, **at)]),
        layer("rule", with_interval(), x=at["x"], y=y.at("low"), y2={"field": "high"}, **coloured(looks, "machine")),
        layer("point", **at, **marked(looks, "machine")),
        *end_labels(named, looks, x, y, SIDE, SIDE),
    ]
    tips = [_tip(row, first) for row in rows]
    panel = Panel("", frame, layers, SIDE, SIDE, tips=tips)
    return figure_of(run, "machines", "One meta-iteration on several machines", SAYS, [Group("", [panel])])


def _tip(row: Mapping[str, Any], first: str) -> str:
    other = f"on {row['machine']}: {seconds_text(told(row, 'seconds'))}"
    return tip(row["implementation"], other, f"on {first}: {duration_text(row['first_seconds'])}")
