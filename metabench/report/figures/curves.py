"""Quality along something, a line for each algorithm: seconds of meta-training, and inner steps on a held-out task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, TypeAlias

from metabench.record.measurement import Measurement
from metabench.report.figures import shown
from metabench.report.figures.axes import Axis, log_axis, score_axis, size_ticks, widened, within
from metabench.report.figures.base import Figure, Group, Panel, figure_of, frame_of
from metabench.report.figures.marks import DOT, End, coloured, dashed, end_labels, height_for, layer, marked, only
from metabench.report.figures.tips import score_text, tip, told
from metabench.report.figures.trained import Trained, TrainedSetting, trained_looks, trained_settings
from metabench.report.numbers import duration_text
from metabench.report.results import Run
from metabench.report.scores import judged
from metabench.statistics.intervals import scale_of
from metabench.statistics.ratios import Interval
from metabench.statistics.scores import mean_of
from metabench.text import counted

WIDTH = 250
STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MOST_MARKS = 8  # on a line


Points: TypeAlias = Sequence[tuple[float, float, float, float]]
"""(x, value, low, high) of each."""
Dots: TypeAlias = Sequence[tuple[int, float, float]]
"""(seed, x, value) of each."""
Line: TypeAlias = tuple[Trained, Points, bool, Dots]
"""Training, points, whether it does not depend on x and is drawn all across, and the dots of its training seeds."""


@shown(30)
def training(run: Run) -> Figure | None:
    """Quality against the seconds spent on meta-training."""
    says = (
        "Lines: the mean over training seeds (of errors the geometric mean), at the median of their times. A time "
        "holds training and the sampling of tasks, not evaluation. Small dots: the seeds, where there are at most "
        "five. Band: from the lowest to the highest seed; it is no interval. Dotted lines across: algorithms without "
        "meta-training. The start, at 0 s, is left out."
    )
    title = "Validation quality over the time of meta-training"
    return figure_of(run, "training", title, says, _groups(run, "seconds", _trained, _seconds_axis), timed=False)


@shown(50)
def adaptation(run: Run) -> Figure | None:
    """Quality on test tasks against the number of inner steps taken on them."""
    says = (
        "Band: 95 % interval over training seeds and test tasks; with one seed, over test tasks alone. Small dots: the "
        "training seeds, where there are at most five. Dotted lines across: algorithms without an inner loop."
    )
    title = "Quality on test tasks after each inner step"
    return figure_of(run, "adaptation", title, says, _groups(run, "step", _adapted, _steps_axis), timed=False)


def _groups(
    run: Run, along: str, line_of: Callable[[Trained], Line | None], x_axis: Callable[[Sequence[Line]], Axis]
) -> list[Group]:
    """A panel for each setting in which a line has a point."""
    found = [(one, [line for trained in one.trained if (line := line_of(trained))]) for one in trained_settings(run)]
    found = [(one, lines) for one, lines in found if not all(level for _, _, level, _ in lines)]
    height = height_for(max((len(lines) for _, lines in found), default=0))
    return [Group("", [_panel(run, one, lines, along, x_axis(lines), height) for one, lines in found])]


def _panel(run: Run, one: TrainedSetting, lines: Sequence[Line], along: str, x: Axis, height: int) -> Panel:
    rows: list[dict[str, Any]] = [
        {
            "setting": one.heading,
            "name": trained.name,
            "algorithm": trained.algorithm,
            along: at,
            "metric": one.metric,
            "value": value,
            "low": low,
            "high": high,
            "level": level,
            "seed": seed,
            "cells": trained.cells,
        }
        for trained, points, level, dots in lines
        for seed, at, value, low, high in (
            *((None, *point) for point in points),
            *((*dot, None, None) for dot in dots if not level),
        )
    ]
    bands = [Interval(row["value"], row["low"], row["high"]) for row in rows if row["seed"] is None]
    log = one.metric != "accuracy" and min(row["value"] for row in rows) > 0
    y = score_axis(one.metric, [*within(bands, log), *(row["value"] for row in rows)])
    looks = trained_looks(run, one.trained)
    ends = [
        End(trained.name, points[-1][0], points[-1][1], y.named(trained.name, points[-1][1]), across=level)
        for trained, points, level, _ in lines
    ]
    count = [{"op": "row_number", "as": "number"}, {"op": "count", "as": "points"}]
    counted = {"window": count, "frame": [None, None], "groupby": ["name"]}
    some = only(f"(datum.points - datum.number) % ceil(datum.points / {MOST_MARKS}) == 0")
    moves, at_y, at_x = only("!datum.level && !isValid(datum.seed)"), y.at("value"), x.at(along)
    band = {"y": y.at("low"), "y2": {"field": y.field("high")}}
    layers = [
        layer({"type": "rule", "strokeDash": [1.5, 2.5]}, only("datum.level"), y=at_y, **coloured(looks)),
        layer({"type": "area", "opacity": 0.12}, moves, x=at_x, **band, **coloured(looks)),
        layer({"type": "point", "size": DOT}, only("isValid(datum.seed)"), x=at_x, y=at_y, **marked(looks)),
        layer("line", moves, x=at_x, y=at_y, **dashed(looks)),
        layer("point", moves, counted, some, x=at_x, y=at_y, **marked(looks)),
        *end_labels(ends, looks, x, y, WIDTH, height),
    ]
    tips = [_tip(row, along) for row in rows]
    return Panel(one.title, frame_of(rows), layers, WIDTH, height, y.transform, one.note, tips)


def _tip(row: Mapping[str, Any], along: str) -> str:
    at = duration_text(row[along]) if along == "seconds" else counted(int(row[along]), "inner step")
    seed = "" if row["seed"] is None else f", training seed {row['seed']}"
    return tip(row["name"] + seed, f"after {at}: {score_text(told(row), row['metric'])}")


def _adapted(trained: Trained) -> Line | None:
    steps = trained.quality.by_step
    points = tuple((float(step), score.value, score.low, score.high) for step, score in steps.items())
    dots = [
        (seed, float(point.step), point.value)
        for seed, part in trained.dots.items()
        for point in part.by_step
        if point.step in steps
    ]
    return (trained, points, len(points) == 1, dots) if points else None


def _trained(trained: Trained) -> Line | None:
    """The curve of a training at the iterations that the curves of all seeds have."""
    curves = [points for row in judged(trained.bundle).values() if (points := _points(row))]
    common = set.intersection(*(set(points) for points in curves)) if curves else set()
    at = [[points[iteration] for points in curves] for iteration in sorted(common)]
    later = [points for points in at if median(seconds for seconds, _ in points) > 0]
    line = []
    for seeds in later or at[-1:]:
        values = [value for _, value in seeds]
        mean = mean_of(values, scale_of(trained.quality.metric))
        line.append((median(seconds for seconds, _ in seeds), mean, min(values), max(values)))
    dots = [
        (seed, point.seconds, point.value)
        for seed, part in trained.dots.items()
        for point in part.curve
        if point.iteration in common and point.seconds > 0 and point.value is not None
    ]
    return (trained, line, not later, dots) if line else None


def _points(row: Measurement) -> dict[int, tuple[float, float]]:
    """Seconds and value by iteration."""
    curve = row.quality.curve if row.quality else []
    return {point.iteration: (point.seconds, point.value) for point in curve if point.value is not None}


def _seconds_axis(lines: Sequence[Line]) -> Axis:
    return log_axis("time of meta-training", [at for one in lines if not one[2] for at in _places(one)], "time")


def _steps_axis(lines: Sequence[Line]) -> Axis:
    """Even up to 1 and logarithmic beyond."""
    last = max(at for one in lines for at in _places(one))
    axis = Axis("inner steps on a test task", "symlog", (-0.1, widened([last, 1.0])[1]))
    return replace(axis, ticks=size_ticks(axis, [*(float(step) for step in STEPS if step <= last), last]))


def _places(line: Line) -> list[float]:
    """Where a line has points and dots, along x."""
    _, points, _, dots = line
    return [*(at for at, *_ in points), *(at for _, at, _ in dots)]
