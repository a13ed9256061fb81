"""Performance profiles: the share of settings in which each is within a factor of the best."""

from dataclasses import replace

from metabench.report.figures import shown
from metabench.report.figures.axes import TIMES, Axis, log_axis
from metabench.report.figures.base import Figure, Group, Panel, figure_of, frame_of
from metabench.report.figures.marks import End, dashed, end_labels, height_for, layer, marked
from metabench.report.figures.style import Look, Looks, looks_of
from metabench.report.figures.tips import tip
from metabench.report.results import Run
from metabench.report.sections.performance import Profile, profiles

MOST_LINES = 8
"""More cannot be followed; the table has all."""
WIDTH = 240
APART = 0.012
"""Share of the axis by which lines stand apart, so that none of the same height covers another."""
SAYS = (
    "Height of a line: in what share of the settings it is within that factor of the best. At 1×, at the left: how "
    "often it is the best. A line that ends below 100 % failed in the rest, or is slower than the axis is long. In "
    "brackets: the area under the line. Lines of the same height are drawn side by side."
)


@shown(100)
def performance(run: Run) -> Figure | None:
    """A panel for engines and one for algorithms, as far as at least two share two settings."""
    looks = looks_of(run)
    panels = [_panel(profile, looks) for profile in profiles(run)]
    title = "Performance profiles (Dolan and Moré)"
    return figure_of(run, "performance", title, SAYS, [Group("", panels)])


def _panel(profile: Profile, looks: Looks) -> Panel:
    """The lines of one profile, the best first."""
    title = f"{profile.kind.capitalize()}s: {profile.what}"
    note = f"{len(profile.settings)} settings, {profile.many}"
    if len(profile.curves) > MOST_LINES:
        note += f"; the {MOST_LINES} best of {len(profile.curves)}"
    rows, ends, drawn = [], [], {}
    drawn_curves = profile.curves[:MOST_LINES]
    for number, curve in enumerate(drawn_curves):
        above = APART * ((len(drawn_curves) - 1) / 2 - number)
        factors = [1.0, *dict.fromkeys(ratio for ratio in curve.every if 1 < ratio <= profile.most), profile.most]
        shares = [curve.within(factor) for factor in factors]
        cells = " ".join(profile.cells[curve.name])
        head = {"kind": profile.kind, "profile": f"{title}, {note}", "name": curve.name}
        rows += [
            head | {"factor": factor, "share": share, "drawn_at": share + above, "cells": cells}
            for factor, share in zip(factors, shares, strict=True)
        ]
        text = f"{curve.name} ({curve.area(profile.most).value:.2f})"
        ends.append(End(curve.name, profile.most, shares[-1] + above, text))
        drawn[curve.name] = _look(profile.kind, curve.name, looks)
    x = log_axis("time, as a multiple of the best's", [1.0, profile.most], grid=True, text=TIMES)
    x = replace(x, limits=(1.0, profile.most))
    ticks = (0, 0.25, 0.5, 0.75, 1)
    y = Axis("share of settings", "linear", (-0.05, 1.05), ticks, "format(datum.value, '.0%')", grid=True)
    height = height_for(len(ends))
    at = {"x": x.at("factor"), "y": y.at("drawn_at")}
    layers = [
        layer({"type": "line", "interpolate": "step-after"}, **at, **dashed(drawn)),
        layer({"type": "point", "size": 24}, **at, **marked(drawn)),
        *end_labels(ends, drawn, x, y, WIDTH, height),
    ]
    tips = [
        tip(str(row["name"]), f"in {row['share']:.0%} within {row['factor']:.3g} times of the best") for row in rows
    ]
    return Panel(title, frame_of(rows), layers, WIDTH, height, note=note, tips=tips)


def _look(kind: str, name: str, looks: Looks) -> Look:
    """The engine's, or the algorithm's: hollow with a technique."""
    if kind == "engine":
        return looks.engines[name]
    algorithm, comma, _ = name.partition(",")
    return looks.algorithms[algorithm].hollowed(bool(comma))
