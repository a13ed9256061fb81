"""Quality against what it costs: seconds of meta-training, and time of a meta-iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.report.bundles import sound_rows
from metabench.report.figures.curves import quality_axis
from metabench.report.figures.panels import End, Layout, end_labels, log_axis, panels, widened, within
from metabench.report.figures.picture import Picture
from metabench.report.figures.style import INK, look, styled
from metabench.report.figures.trained import Setting, Trained, trained_settings
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

TITLE = "What quality costs: held-out tasks after meta-training"
SAYS = (
    "Bold, on the line: the Pareto front, nothing else measured here is both cheaper and better; the bars say how sure "
    "that is. Up and down: 95 % intervals. Seconds of training: median of the seeds, bar from the shortest to the "
    "longest; time of a meta-iteration: with its 95 % interval."
)
TRAINING, STEP = "seconds of meta-training", "seconds of a meta-iteration"
FEWEST = 2  # points that make a picture


@dataclass(frozen=True)
class Mark:
    """A training: what it cost, how good it is, and whether nothing beats it at both."""

    name: str
    algorithm: str
    cost: Interval
    score: Interval
    front: bool
    cells: str


@dataclass(frozen=True)
class Panel:
    """All trainings of a setting against one kind of cost."""

    title: str
    metric: str
    along: str
    marks: tuple[Mark, ...]


def pareto_picture(run: Run) -> Picture | None:
    """None for a run that has no two trainings on the same tasks."""
    found = pareto_panels(run)
    if not found:
        return None
    machine = run.environment.summary
    return Picture("pareto", TITLE, SAYS, _data(found), lambda: draw_pareto(found, machine))


def pareto_panels(run: Run) -> list[Panel]:
    """For each setting a panel by seconds of training, and one by time of a meta-iteration, as far as measured."""
    settings = trained_settings(run)
    found = [_panel(one, along) for one in settings for along in (TRAINING, STEP)]
    return [panel for panel in found if len(panel.marks) >= FEWEST]


def _panel(one: Setting, along: str) -> Panel:
    costs = [(trained, _seconds(trained) if along == TRAINING else trained.cost.step) for trained in one.trained]
    known = [(trained, cost) for trained, cost in costs if cost and cost.drawn.low > 0]
    better = 1 if one.metric == "accuracy" else -1
    scores = [(cost.value, better * trained.quality.score.value) for trained, cost in known]
    marks = tuple(
        Mark(trained.name, trained.algorithm, cost, trained.quality.score, _unbeaten(own, scores), trained.cells)
        for (trained, cost), own in zip(known, scores, strict=True)
    )
    free = [trained.name for trained, cost in costs if cost and cost.drawn.low <= 0]
    missing = [trained.name for trained, cost in costs if cost is None]
    notes = [f"{', '.join(names)}: {why}" for names, why in ((free, "no training"), (missing, "no time")) if names]
    return Panel(". ".join([one.heading, *notes]), one.metric, along, marks)


def _seconds(trained: Trained) -> Interval:
    """The median over seeds, from the shortest to the longest."""
    seconds = [row.quality.train_s for row in sound_rows(trained.bundle.rows) if row.quality]
    return Interval(trained.quality.train_s, min(seconds), max(seconds))


def _unbeaten(own: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """Whether none of (cost, worth) costs no more and is worth as much, but for an equal."""
    return not any(cost <= own[0] and worth >= own[1] and (cost, worth) != own for cost, worth in others)


def _data(found: Sequence[Panel]) -> pd.DataFrame:
    columns = ("setting", "name", "algorithm", "cost", "seconds", "seconds_low", "seconds_high")
    return pd.DataFrame(
        [
            (
                *(panel.title, m.name, m.algorithm, panel.along, m.cost.value, m.cost.low, m.cost.high),
                *(panel.metric, m.score.value, m.score.low, m.score.high, m.front, m.cells),
            )
            for panel in found
            for m in panel.marks
        ],
        columns=(*columns, "metric", "value", "low", "high", "front", "cells"),
    )


def draw_pareto(found: Sequence[Panel], machine: str) -> Figure:
    """A panel for each setting and kind of cost, which is on a logarithmic axis."""
    with styled():
        layouts = [Layout(panel.title, len(panel.marks), partial(_draw, panel)) for panel in found]
        return panels(TITLE, SAYS, machine, layouts)


def _draw(panel: Panel, axes: Axes, inches: float) -> None:
    log_axis(axes.xaxis, *widened(within([m.cost for m in panel.marks])))
    axes.set_xlabel(panel.along)
    scores = [m.score for m in panel.marks]
    positive = min(score.value for score in scores) > 0
    low, high = quality_axis(axes, panel.metric, within(scores, log=positive and panel.metric != "accuracy"))
    axes.grid(axis="x")
    front = sorted((m.cost.value, min(max(m.score.value, low), high)) for m in panel.marks if m.front)
    axes.step(*zip(*front, strict=True), where="post", color=INK, linewidth=0.8, zorder=2)
    ends = []
    for mark in panel.marks:
        style, at = look(mark.algorithm), min(max(mark.score.value, low), high)
        axes.plot([mark.cost.value] * 2, [mark.score.low, mark.score.high], color=style.colour, linewidth=1)
        axes.plot([mark.cost.drawn.low, mark.cost.drawn.high], [at, at], color=style.colour, linewidth=1)
        axes.plot(
            [mark.cost.value],
            [at],
            color=style.colour,
            marker=style.marker,
            markersize=7 if mark.front else 5,
            markeredgecolor=INK if mark.front else style.colour,
            markeredgewidth=0.8,
            zorder=3,
        )
        name = mark.name if at == mark.score.value else f"{mark.name} (off the scale)"
        ends.append(End(mark.cost.value, at, name, style.colour, style.marker, bold=mark.front))
    end_labels(axes, ends, inches)
