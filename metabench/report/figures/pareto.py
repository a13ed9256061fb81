"""Quality against what it costs: seconds of meta-training, and time of a meta-iteration."""

from collections.abc import Mapping, Sequence
from typing import Any

from metabench.report.figures import shown
from metabench.report.figures.axes import log_axis, score_axis, within
from metabench.report.figures.base import Figure, Group, Panel, ends_of, figure_of, frame_of
from metabench.report.figures.marks import (
    DOT,
    OF_NO_ROW,
    End,
    coloured,
    end_labels,
    height_for,
    layer,
    marked,
    only,
    with_interval,
)
from metabench.report.figures.style import INK
from metabench.report.figures.tips import score_text, seconds_text, tip, told
from metabench.report.figures.trained import Trained, TrainedSetting, trained_looks, trained_settings
from metabench.report.results import Run
from metabench.statistics.ratios import Interval

SAYS = (
    "Bold names and the black line: Pareto-optimal, nothing else that was measured is both cheaper and better. "
    "Vertical bars: 95 % intervals of the quality. Horizontal bars: of the time of meta-training, from the shortest to "
    "the longest seed, around the median; of the time of a meta-iteration, the 95 % interval. Small dots: the training "
    "seeds, where there are at most five."
)
TRAINING, STEP = "time of meta-training", "time of a meta-iteration"
FEWEST = 2  # points that make a figure
WIDTH = 240


@shown(40)
def pareto(run: Run) -> Figure | None:
    """A panel by time of a meta-iteration for each setting, and then one by seconds of training, as far as measured."""
    settings = trained_settings(run)
    height = height_for(max((len(one.trained) for one in settings), default=0))
    found = [_panel(run, one, along, height) for along in (STEP, TRAINING) for one in settings]
    title = "Quality on test tasks against cost"
    return figure_of(run, "pareto", title, SAYS, [Group("", [panel for panel in found if panel])])


def _panel(run: Run, one: TrainedSetting, along: str, height: int) -> Panel | None:
    costs = [(trained, _seconds(trained) if along == TRAINING else trained.cost.step) for trained in one.trained]
    known = [(trained, cost) for trained, cost in costs if cost and cost.drawn.low > 0]
    if len(known) < FEWEST:
        return None
    better = 1 if one.metric == "accuracy" else -1
    worths = [(cost.value, better * trained.quality.score.value) for trained, cost in known]
    front = {trained.name for (trained, _), own in zip(known, worths, strict=True) if _unbeaten(own, worths)}
    free = [trained.name for trained, cost in costs if cost and cost.drawn.low <= 0]
    missing = [trained.name for trained, cost in costs if cost is None]
    notes = [f"{', '.join(names)}: {why}" for names, why in ((free, "no training"), (missing, "no time")) if names]
    note = ". ".join([one.note, *notes])
    rows = [
        {
            "setting": f"{one.title}, {note}",
            "name": trained.name,
            "algorithm": trained.algorithm,
            "cost": along,
            **ends_of(cost, "seconds", "seconds_"),
            "metric": one.metric,
            **ends_of(trained.quality.score),
            "front": trained.name in front,
            "seed": None,
            "cells": trained.cells,
        }
        for trained, cost in known
    ]
    dots = [
        {
            **head,
            **ends_of(None, "seconds", "seconds_"),
            "seconds": part.train_s if along == TRAINING else head["seconds"],
            **ends_of(None),
            "value": part.value,
            "front": False,
            "seed": seed,
        }
        for (trained, _), head in zip(known, rows, strict=True)
        for seed, part in trained.dots.items()
    ]
    scores = [trained.quality.score for trained, _ in known]
    positive = min(score.value for score in scores) > 0
    x = log_axis(along, within([cost for _, cost in known]), "time", grid=True)
    seen = within(scores, log=positive and one.metric != "accuracy")
    y = score_axis(one.metric, [*seen, *(part.value for trained, _ in known for part in trained.dots.values())])
    looks = trained_looks(run, one.trained)
    ends = [
        End(trained.name, cost.value, score, y.named(trained.name, score), bold=trained.name in front)
        for trained, cost in known
        for score in [trained.quality.score.value]
    ]
    at_x, at_y, ink = x.at("seconds"), y.at("value"), {"color": INK, "strokeWidth": 1.2}
    marks, colours = marked(looks), coloured(looks)
    across = {"x": x.at("seconds_low"), "x2": {"field": "seconds_high"}}
    layers = [
        layer("rule", with_interval(), x=at_x, y=y.at("low"), y2={"field": y.field("high")}, **colours),
        layer("rule", with_interval("seconds_high"), **across, y=at_y, **colours),
        layer({"type": "line", "interpolate": "step-after", **ink}, only("datum.front"), x=at_x, y=at_y, **OF_NO_ROW),
        layer({"type": "point", "size": DOT}, only("isValid(datum.seed)"), x=at_x, y=at_y, **marks),
        layer({"type": "point", "size": 36}, only("!datum.front && !isValid(datum.seed)"), x=at_x, y=at_y, **marks),
        layer({"type": "point", "size": 75}, only("datum.front"), x=at_x, y=at_y, **marks | {"stroke": {"value": INK}}),
        *end_labels(ends, looks, x, y, WIDTH, height),
    ]
    tips = [_tip(row) for row in (*rows, *dots)]
    return Panel(one.title, frame_of([*rows, *dots]), layers, WIDTH, height, y.transform, note, tips)


def _tip(row: Mapping[str, Any]) -> str:
    seed = "" if row["seed"] is None else f", training seed {row['seed']}"
    time = seconds_text(told(row, "seconds", "seconds_"))
    front = "Pareto-optimal" if row["front"] else ""
    return tip(row["name"] + seed, score_text(told(row), row["metric"]), f"{row['cost']}: {time}", front)


def _seconds(trained: Trained) -> Interval:
    """The median over seeds, from the shortest to the longest."""
    seconds = [row.quality.train_s for row in trained.bundle.sound if row.quality]
    return Interval(trained.quality.train_s, min(seconds), max(seconds))


def _unbeaten(own: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """Whether no other of (cost, worth) costs at most as much and is worth at least as much, an equal one aside."""
    return not any(cost <= own[0] and worth >= own[1] and (cost, worth) != own for cost, worth in others)
