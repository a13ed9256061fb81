"""What was fitted to regression tasks of the test before and after adaptation."""

from collections.abc import Iterable, Sequence

from metabench.record.quality import Fits, FittedTask
from metabench.report.figures import shown
from metabench.report.figures.axes import Axis
from metabench.report.figures.base import Figure, Group, Panel, figure_of, frame_of
from metabench.report.figures.marks import layer, only
from metabench.report.figures.style import FAINT, INK, looks_of
from metabench.report.figures.tips import tip
from metabench.report.figures.trained import Trained, TrainedSetting, trained_settings
from metabench.report.results import Run
from metabench.text import counted

SAYS = (
    "Grey: the true function. Black dots: the support points. Coloured lines: the prediction; dotted before "
    "adaptation, dashed after one inner step, solid after the last step. All algorithms are shown on the "
    "same tasks, with one training seed. There are no intervals."
)
TASKS = 2
"""Drawn of each training."""
WIDTH, HEIGHT = 150, 105
BEYOND = 0.6
"""How far beyond the true functions a panel goes, as a share of their range; predictions further away are cut off."""


@shown(60)
def fits(run: Run) -> Figure | None:
    """A group for each setting, and in it the tasks of each training that has fits, a training after another."""
    looks = looks_of(run).algorithms
    groups = []
    for one in trained_settings(run):
        recorded = [(trained, found) for trained in one.trained if (found := _recorded(trained))]
        bounds = _bounds(task.y for _, found in recorded for task in found.tasks[:TASKS])
        panels = [
            _panel(one, trained, found.x, task, number, bounds, looks[trained.algorithm].colour)
            for trained, found in recorded
            for number, task in enumerate(found.tasks[:TASKS], 1)
        ]
        groups.append(Group(one.heading, panels, columns=2 * TASKS))
    title = "Predictions on test tasks before and after adaptation"
    return figure_of(run, "fits", title, SAYS, groups, timed=False)


def _recorded(trained: Trained) -> Fits | None:
    """The first row's that has fits with something in them."""
    for row in trained.bundle.sound:
        found = row.quality.fits if row.quality else None
        if found and found.x and found.tasks and all(task.predictions for task in found.tasks):
            return found
    return None


def _bounds(curves: Iterable[Sequence[float]]) -> tuple[float, float]:
    values = [value for curve in curves for value in curve] or [0.0]
    low, high = min(values), max(values)
    room = BEYOND * ((high - low) or max(abs(high), 1.0))
    return low - room, high + room


def _panel(
    one: TrainedSetting,
    trained: Trained,
    x: Sequence[float],
    task: FittedTask,
    number: int,
    limits: tuple[float, float],
    colour: str,
) -> Panel:
    last = task.predictions[-1].step
    steps = counted(last, "step") if last else "no step"
    curves = [("true", x, task.y), ("support", task.support_x, task.support_y)]
    curves += [(f"after {prediction.step}", x, prediction.y) for prediction in task.predictions]
    head = {"setting": one.heading, "name": trained.name, "algorithm": trained.algorithm, "task": number}
    rows = [
        {**head, "curve": name, "x": at, "y": y, "cells": trained.cells}
        for name, xs, ys in curves
        for at, y in zip(xs, ys, strict=True)
    ]
    across = Axis("x", "linear", (min(x), max(x)), cut=True)
    at = {"x": across.at("x"), "y": Axis("y", "linear", limits, cut=True).at("y")}
    line = {"type": "line", "color": colour, "clip": True}
    layers = [
        layer({"type": "line", "color": FAINT, "strokeWidth": 3, "opacity": 0.4}, only("datum.curve == 'true'"), **at)
    ]
    for prediction in task.predictions:
        step = prediction.step
        dash = [1, 0] if step == last else [1.5, 2.5] if step == 0 else [5, 3]
        mark = line | {"strokeDash": dash, "strokeWidth": 1.8 if step == last else 1.2}
        layers.append(layer(mark, only(f"datum.curve == 'after {int(step)}'"), **at))
    layers.append(
        layer({"type": "point", "filled": True, "color": INK, "size": 22}, only("datum.curve == 'support'"), **at)
    )
    tips = [
        tip(f"{trained.name}, task {number}", f"{row['curve']}: y = {row['y']:.3g} at x = {row['x']:.3g}")
        for row in rows
    ]
    title = f"{trained.name}, task {number}"
    return Panel(title, frame_of(rows), layers, WIDTH, HEIGHT, note=f"solid: after {steps}", tips=tips)
