"""What was fitted to held-out regression tasks before and after adaptation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metabench.record.measurement import Fits
from metabench.report.bundles import sound_rows
from metabench.report.figures.panels import Layout, panels
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import FAINT, INK, look, styled
from metabench.report.figures.trained import Setting, Trained, trained_settings
from metabench.report.results import Run

TITLE = "What they fit: held-out tasks before and after adaptation"
SAYS = (
    "Grey: the true function; black dots: the support points. Colour: the prediction, dotted before adaptation, dashed "
    "after one inner step, solid after as many as the title says. The same tasks for all "
    "algorithms; one training seed; no interval."
)
TASKS = 2
"""Drawn of each training."""
COLUMNS, MOST_PANELS = 2 * TASKS, 56
LEAST_INCHES = 1.1
BEFORE, AFTER_ONE, AFTER_ALL = ":", "--", "-"
BEYOND = 0.6
"""How far beyond the true functions a panel goes, as a share of their range; predictions further away are cut off."""


@dataclass(frozen=True)
class Fit:
    """One task as one algorithm fits it."""

    title: str
    algorithm: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    support: tuple[tuple[float, ...], tuple[float, ...]]
    predictions: tuple[tuple[int, tuple[float, ...]], ...]
    """By the inner steps taken; the last one is after all."""
    limits: tuple[float, float]
    cells: str
    setting: str
    task: int


def fits_picture(run: Run) -> Picture | None:
    """None for a run that recorded no fits: older ones, and tasks that cannot be drawn."""
    found = [fit for one in trained_settings(run) for fit in setting_fits(one)]
    if not found:
        return None
    machine = run.environment.summary
    return Picture("fits", TITLE, SAYS, _data(found), lambda: draw_fits(found, machine))


def setting_fits(one: Setting) -> list[Fit]:
    """The tasks of each training that has fits, a training after another."""
    recorded = [(trained, fits) for trained in one.trained if (fits := _recorded(trained))]
    bounds = [_bounds([fits.tasks[i].y for _, fits in recorded if i < len(fits.tasks)]) for i in range(TASKS)]
    found = []
    for trained, fits in recorded:
        for i, task in enumerate(fits.tasks[:TASKS]):
            predictions = tuple((p.step, tuple(p.y)) for p in task.predictions)
            last = predictions[-1][0]
            steps = f"{last} step{'s' * (last > 1)}" if last else "no steps"
            title = f"{trained.name}, {steps}" if i == 0 else f"{trained.name}, task {i + 1}"
            support = tuple(task.support_x), tuple(task.support_y)
            line = tuple(fits.x), tuple(task.y)
            found.append(
                Fit(title, trained.algorithm, *line, support, predictions, bounds[i], trained.cells, one.heading, i + 1)
            )
    return found


def _recorded(trained: Trained) -> Fits | None:
    """The first row's that has fits with something in them."""
    for row in sound_rows(trained.bundle.rows):
        fits = row.quality.fits if row.quality else None
        if fits and fits.x and fits.tasks and all(task.predictions for task in fits.tasks):
            return fits
    return None


def _bounds(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [value for curve in curves for value in curve] or [0.0]
    low, high = min(values), max(values)
    room = BEYOND * ((high - low) or max(abs(high), 1.0))
    return low - room, high + room


def _data(found: Sequence[Fit]) -> pd.DataFrame:
    """A row for each point of each curve and of the support."""
    rows: list[tuple[Any, ...]] = []
    for fit in found:
        curves = [("true", fit.x, fit.y), ("support", *fit.support)]
        curves += [(f"after {step}", fit.x, y) for step, y in fit.predictions]
        head = (fit.setting, fit.title.rsplit(", ", 1)[0], fit.algorithm, fit.task)
        rows += [(*head, what, x, y, fit.cells) for what, xs, ys in curves for x, y in zip(xs, ys, strict=True)]
    return pd.DataFrame(rows, columns=("setting", "name", "algorithm", "task", "curve", "x", "y", "cells"))


def draw_fits(found: Sequence[Fit], machine: str) -> Figure:
    """A row of tasks for each training."""
    with styled():
        where = "; ".join(dict.fromkeys(fit.setting for fit in found))
        layouts = [Layout(fit.title, 0, partial(_draw, fit), LEAST_INCHES) for fit in found]
        return panels(TITLE, f"{where}. {SAYS}", machine, layouts, COLUMNS, MOST_PANELS)


def _draw(fit: Fit, axes: Axes, inches: float) -> None:
    colour = look(fit.algorithm).colour
    axes.plot(fit.x, fit.y, color=FAINT, linewidth=2.5, alpha=0.5)
    last = fit.predictions[-1][0]
    for step, y in fit.predictions:
        line = AFTER_ALL if step == last else BEFORE if step == 0 else AFTER_ONE
        axes.plot(fit.x, y, color=colour, linestyle=line, linewidth=1.6 if step == last else 1.1)
    axes.plot(*fit.support, linestyle="none", marker="o", markersize=4, color=INK, zorder=3)
    axes.set_ylim(*fit.limits)
    axes.set_xlim(fit.x[0], fit.x[-1])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("x")
    axes.set_ylabel("y")
