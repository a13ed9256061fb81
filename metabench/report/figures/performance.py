"""Performance profiles: the share of settings in which each is within a factor of the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from metabench.report.figures.picture import Picture
from metabench.report.figures.style import FAINT, WIDTH, Look, engine_colour, label, look, styled
from metabench.report.results import Run
from metabench.report.sections.performance import Profile, profiles

MOST_LINES = 8
"""More cannot be followed; the table has all."""
PANEL_INCHES, HEAD_INCHES, FOOT_INCHES = 3.3, 0.45, 0.55
ABOVE_INCHES, BELOW_INCHES = 0.3, 0.55
"""Of a panel, for its title and for its axis."""
LEFT_INCHES, LEGEND_INCHES = 0.7, 3.0
LONGEST_NAME = 24
"""Characters of a name in the legend."""
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
TITLE = "In what share of the settings each is within a factor of the best"
SAYS = (
    "At 1×, left: how often it is the best. A line that ends below 100 % failed, or is slower than the axis is long. "
    "In brackets: the area under the line."
)


@dataclass(frozen=True)
class Steps:
    """One line: the share of settings at each factor, as drawn."""

    name: str
    text: str
    """In the legend."""
    factors: tuple[float, ...]
    shares: tuple[float, ...]
    look: Look


@dataclass(frozen=True)
class Panel:
    """The lines of one profile, the best first."""

    title: str
    most: float
    steps: tuple[Steps, ...]


def performance_picture(run: Run) -> Picture | None:
    """None where fewer than two engines or algorithms share two settings."""
    found = profiles(run.measurements)
    if not found:
        return None
    panels = [panel_of(profile) for profile in found]
    machine = run.environment.summary
    return Picture("performance", TITLE, SAYS, _data(found, panels), partial(draw_performance, panels, machine))


def panel_of(profile: Profile) -> Panel:
    """What is drawn of a profile."""
    replicates = len(profile.curves[0].ratios)
    many = f"{replicates} {profile.replicate}{'' if replicates == 1 else 's'}"
    title = f"{profile.kind.capitalize()}s, {profile.what}: {len(profile.settings)} settings, {many}"
    if len(profile.curves) > MOST_LINES:
        title += f"; the {MOST_LINES} best of {len(profile.curves)}"
    steps = []
    for number, curve in enumerate(profile.curves[:MOST_LINES]):
        factors = [1.0, *dict.fromkeys(ratio for ratio in curve.every if 1 < ratio <= profile.most), profile.most]
        shares = tuple(curve.within(factor) for factor in factors)
        # matplotlib leaves out of a legend what begins with an underscore
        name = curve.name if len(curve.name) <= LONGEST_NAME else f"{curve.name[: LONGEST_NAME - 1]}…"
        text = f"{label(name).lstrip('_')} ({curve.area(profile.most).value:.2f})"
        steps.append(Steps(curve.name, text, tuple(factors), shares, _look(profile.kind, curve.name, number)))
    return Panel(title, profile.most, tuple(steps))


def _look(kind: str, name: str, number: int) -> Look:
    if kind == "algorithm":
        return look(name.partition(",")[0])  # with its technique, an algorithm keeps its look
    return Look(engine_colour(name), MARKERS[number % len(MARKERS)], STYLES[number % len(STYLES)])


def _data(found: Sequence[Profile], panels: Sequence[Panel]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (profile.kind, panel.title, steps.name, factor, share, " ".join(profile.cells[steps.name]))
            for profile, panel in zip(found, panels, strict=True)
            for steps in panel.steps
            for factor, share in zip(steps.factors, steps.shares, strict=True)
        ],
        columns=("kind", "profile", "name", "factor", "share", "cells"),
    )


def draw_performance(panels: Sequence[Panel], machine: str) -> Figure:
    """A panel a profile, one above the other; places in inches, so that every drawing is the same to the last bit."""
    with styled():
        height = HEAD_INCHES + PANEL_INCHES * len(panels) + FOOT_INCHES
        figure = Figure(figsize=(WIDTH, height))
        figure.text(0.01, 1 - 0.25 / height, TITLE, fontsize=13, fontweight="bold", va="center")
        width = (WIDTH - LEFT_INCHES - LEGEND_INCHES) / WIDTH
        for number, panel in enumerate(panels):
            foot = FOOT_INCHES + PANEL_INCHES * (len(panels) - 1 - number) + BELOW_INCHES
            place = (LEFT_INCHES / WIDTH, foot / height, width, (PANEL_INCHES - BELOW_INCHES - ABOVE_INCHES) / height)
            _draw_panel(panel, figure.add_axes(place))
        said = f"{SAYS}\n{label(machine)}"
        figure.text(0.01, 0.5 * FOOT_INCHES / height, said, fontsize=8, color=FAINT, va="center", wrap=True)
        return figure


def _draw_panel(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title, loc="left")
    axes.set_xscale("log")
    axes.set_xlim(1, panel.most)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid()
    axes.set_xlabel("time, as a multiple of the best's")
    axes.set_ylabel("share of settings")
    for steps in panel.steps:
        axes.step(
            steps.factors,
            steps.shares,
            where="post",
            label=steps.text,
            color=steps.look.colour,
            linestyle=steps.look.line,
            marker=steps.look.marker,
            markersize=4,
            linewidth=1.6,
            clip_on=False,
        )
    # not at the lines' ends: many of them end at 100 %
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3.5, fontsize=9)
