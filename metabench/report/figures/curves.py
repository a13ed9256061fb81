"""Quality along something, a line for each algorithm: how the pictures of training and of adaptation are drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import ArrayLike, NDArray

from metabench.report.figures.panels import End, Layout, end_labels, log_axis, widened
from metabench.report.figures.style import label, look

METRICS = {"accuracy": "accuracy [%]", "mse": "mean squared error"}
LARGEST = 1e6
"""How many times the best the worst may be before it is not drawn."""
MOST_MARKERS = 8
HIGH = 0.9
"""An accuracy from which on errors tell more than right answers."""
LEAST_ERROR = 1e-4
CLOSEST_NINES = 0.09
"""Of an axis's height: how near its numbers may stand."""
NINES = (*(tenth / 10 for tenth in range(8)), 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


@dataclass(frozen=True)
class Curve:
    """An algorithm's line: x, y, and the ends of what is around it, one each."""

    name: str
    algorithm: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    cells: str
    level: bool = False
    """Whether it does not depend on x: a line all across."""


@dataclass(frozen=True)
class Curves:
    """The lines of one setting."""

    title: str
    metric: str
    lines: tuple[Curve, ...]


def curves_data(panels: Sequence[Curves], along: str) -> pd.DataFrame:
    """A row for each point."""
    return pd.DataFrame(
        [
            (panel.title, line.name, line.algorithm, x, panel.metric, y, low, high, line.cells)
            for panel in panels
            for line in panel.lines
            for x, y, low, high in zip(line.x, line.y, line.low, line.high, strict=True)
        ],
        columns=("setting", "name", "algorithm", along, "metric", "value", "low", "high", "cells"),
    )


def curves_layout(panel: Curves, x_axis: Callable[[Axes, Curves], None]) -> Layout:
    """A panel of lines with bands, named at their ends; `x_axis` scales and names the axis."""
    return Layout(panel.title, len(panel.lines), partial(_draw, panel, x_axis))


def _draw(panel: Curves, x_axis: Callable[[Axes, Curves], None], axes: Axes, inches: float) -> None:
    x_axis(axes, panel)
    limits = quality_axis(axes, panel.metric, [y for line in panel.lines for y in line.y])
    left, right = axes.get_xlim()
    ends = []
    for line in panel.lines:
        style = look(line.algorithm)
        y = [min(max(value, limits[0]), limits[1]) for value in line.y]
        if line.level:
            axes.axhline(y[-1], color=style.colour, linewidth=1.2, linestyle=":")
        else:
            axes.fill_between(line.x, line.low, line.high, color=style.colour, alpha=0.13, linewidth=0)
            axes.plot(
                line.x,
                y,
                color=style.colour,
                linestyle=style.line,
                marker=style.marker,
                markevery=-(-len(y) // MOST_MARKERS),
                markersize=4,
                markeredgewidth=0,
                linewidth=1.3,
                zorder=3,
            )
        name = line.name if y[-1] == line.y[-1] else f"{line.name} (off the scale)"
        ends.append(End(right if line.level else min(line.x[-1], right), y[-1], name, style.colour, style.marker))
    axes.set_xlim(left, right)
    end_labels(axes, ends, inches)


def quality_axis(axes: Axes, metric: str, values: Sequence[float]) -> tuple[float, float]:
    """Scale and name the axis of a score; gives its limits. High accuracies are drawn by their errors' logarithm."""
    axes.set_ylabel(label(METRICS.get(metric, metric)))
    axes.grid(axis="y")
    if metric != "accuracy" and min(values) > 0:
        best = min(values)
        limits = widened([value for value in values if value <= best * LARGEST])
        log_axis(axes.yaxis, *limits)
        return limits
    limits = widened(values, log=False)
    if metric == "accuracy" and max(values) >= HIGH:
        axes.set_yscale("function", functions=(_nines, _of_nines))
        limits = (max(limits[0], 0.0), min(1 - (1 - max(values)) * 0.85, 1 - LEAST_ERROR))  # intervals may pass 100 %
        axes.yaxis.set_major_locator(FixedLocator(_spaced_nines(*limits)))
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.set_ylim(*limits)
    return limits


def _spaced_nines(low: float, high: float) -> list[float]:
    """Round accuracies in between, the highest first, that do not stand too close."""
    apart = CLOSEST_NINES * float(_nines(high) - _nines(low))
    shown: list[float] = []
    for tick in reversed(NINES):
        if low <= tick <= high and (not shown or float(_nines(shown[-1]) - _nines(tick)) > apart):
            shown.append(tick)
    return shown


def _nines(accuracy: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(-np.log10(np.maximum(1 - np.asarray(accuracy, dtype=float), LEAST_ERROR)))


def _of_nines(nines: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(1 - 10 ** -np.asarray(nines, dtype=float))
