"""Small multiples with a heading, and lines that are named at their ends."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from metabench.report.figures.placing import add_axes, add_text, inches, move
from metabench.report.figures.style import FAINT, PAPER, WIDTH, label
from metabench.statistics.ratios import Interval

HEAD_INCHES, FOOT_INCHES, LINE_INCHES = 0.4, 0.2, 0.16
LABEL_INCHES = 0.155
"""From one label at a line's end to the next."""
LEAST_INCHES, AROUND_INCHES = 1.6, 0.7
"""Height of the smallest axes, and of what is around any, its title not counted."""
SINGLE = 6.5  # inches: a panel that stands alone is no wider
MOST_PANELS = 16
LETTERS_PER_INCH = 13.5  # of panels' titles
SAYS_LETTERS_PER_INCH, HEADING_LETTERS_PER_INCH = 15.0, 9.0
TITLE_INDENT = 0.7  # inches, for the numbers at an axis
BELOW_INCHES = 0.45
"""For the numbers and the name of a horizontal axis."""
NUMBER_POINTS = 9.0
LABELS_AT = 1.09
"""Where labels at the ends of lines begin, in widths of their axes."""
LABEL_POINTS, TITLE_PAD = 7.5, 9.0
CLOSEST = 0.13
"""Of an axis's length: how near its numbers may stand."""


@dataclass(frozen=True)
class End:
    """Where a line ends, in its axes' units, and what it is called there."""

    x: float
    y: float
    text: str
    colour: str
    marker: str
    bold: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class Layout:
    """What is drawn in each panel, and how much room that needs."""

    title: str
    labels: int
    """How many there are at the ends of its lines."""
    draw: Callable[[Axes, float], None]
    """Draws into axes about so many inches high."""
    least: float = LEAST_INCHES
    """How high the axes are, if labels need no more."""


def panels(
    title: str, says: str, machine: str, layouts: Sequence[Layout], columns: int = 2, most: int = MOST_PANELS
) -> Figure:
    """A figure with a panel for each layout, row by row; of very many the first ones alone, which it says.

    To be called, and to be saved, in the context of `styled`.
    """
    shown = layouts[:most]
    columns = min(columns, len(shown))
    width = WIDTH if columns > 1 else SINGLE
    rows = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    across = int((width / columns - TITLE_INDENT) * LETTERS_PER_INCH)
    inner = [max(max(one.least, LABEL_INCHES * (one.labels + 1)) for one in row) for row in rows]
    titles = [max(len(_wrapped(one.title, across)) for one in row) for row in rows]
    heights = [i + AROUND_INCHES + LINE_INCHES * t for i, t in zip(inner, titles, strict=True)]
    left_out = f" {len(layouts) - len(shown)} more panels are in the CSV alone." if len(layouts) > len(shown) else ""
    says_lines = [*wrap(says + left_out, int(width * SAYS_LETTERS_PER_INCH)), label(machine)]
    heading = wrap(title, int(width * HEADING_LETTERS_PER_INCH))
    head, foot = HEAD_INCHES + 0.2 * (len(heading) - 1), FOOT_INCHES + LINE_INCHES * len(says_lines)
    figure = Figure(figsize=(width, head + sum(heights) + foot))
    add_text(figure, 0.1, head / 2, "\n".join(heading), fontsize=13, fontweight="bold")
    add_text(figure, 0.1, head + sum(heights) + foot / 2, "\n".join(says_lines), fontsize=8, color=FAINT)
    grid: list[list[Axes]] = []
    for row, high in zip(rows, inner, strict=True):
        grid.append([add_axes(figure, 0, 0, 1, high) for _ in row])
        for axes, one in zip(grid[-1], row, strict=True):
            axes.set_title("\n".join(_wrapped(one.title, across)), loc="left", fontsize=8.5, pad=TITLE_PAD)
            one.draw(axes, high)
    _place(grid, width, head, heights, inner)
    return figure


def _place(
    grid: Sequence[Sequence[Axes]], width: float, head: float, heights: Sequence[float], inner: Sequence[float]
) -> None:
    """Put each panel where it belongs, the frames of a column below one another."""
    across = width / len(grid[0])
    for column in range(len(grid[0])):
        own = [row[column] for row in grid if column < len(row)]
        left = max(map(_left_room, own))
        right = max(_right_room(axes, across - left) for axes in own)
        end = head
        for axes, height, high in zip(own, heights, inner, strict=False):
            end += height
            move(axes, column * across + left, end - BELOW_INCHES - high, across - left - right, high)


def _left_room(axes: Axes) -> float:
    """Inches for the numbers and the name of the vertical axis."""
    axis = axes.yaxis
    numbers = axis.get_major_formatter().format_ticks([float(tick) for tick in axis.get_major_locator()()])
    return 0.2 + max((inches(text, NUMBER_POINTS) for text in numbers), default=0.0) + (0.2 if axes.get_ylabel() else 0)


def _right_room(axes: Axes, rest: float) -> float:
    """Inches of the rest for the labels at the ends of lines, which begin beyond the axes by a share of their width."""
    if not axes.texts:
        return 0.15
    longest = max(inches(text.get_text(), LABEL_POINTS) for text in axes.texts) + 0.2
    return rest - (rest - longest) / LABELS_AT


def _wrapped(text: str, letters: int) -> list[str]:
    return wrap(label(text), letters) or [""]


def end_labels(axes: Axes, ends: Sequence[End], inches: float) -> None:
    """Name lines at the right of the axes, whose limits must be set and which are so high; no label covers another."""
    to_axes = axes.transScale + axes.transLimits
    points = np.array([to_axes.transform((end.x, end.y)) for end in ends]).reshape(-1, 2)
    points = np.clip(np.nan_to_num(points, nan=0.5), 0, 1)
    order = sorted(range(len(ends)), key=lambda i: (points[i, 1], i))
    heights = spread([float(points[i, 1]) for i in order], LABEL_INCHES / (0.93 * inches))
    for i, height in zip(order, heights, strict=True):
        end = ends[i]
        axes.plot(
            [points[i, 0], 1.01, 1.07],
            [points[i, 1], points[i, 1], height],
            transform=axes.transAxes,
            clip_on=False,
            color=end.colour,
            linewidth=0.6,
            alpha=0.6,
            zorder=1,
        )
        axes.plot(
            [LABELS_AT],
            [height],
            transform=axes.transAxes,
            clip_on=False,
            color=end.colour,
            marker=end.marker,
            markersize=4.5,
            markerfacecolor=PAPER if end.hollow else end.colour,
        )
        axes.annotate(
            label(end.text),
            (LABELS_AT, height),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=LABEL_POINTS,
            fontweight="bold" if end.bold else "normal",
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places in [0, 1] at least `gap` apart and as near as can be to those wanted, which come in rising order.

    Where they do not all fit, they go beyond both ends alike.
    """
    blocks: list[list[float]] = []  # mean of what is wanted less what is before it in the row, and how many
    for i, place in enumerate(wanted):
        blocks.append([place - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            blocks[-1][0] = (blocks[-1][0] * blocks[-1][1] + mean * count) / (blocks[-1][1] + count)
            blocks[-1][1] += count
    room = 1 - (len(wanted) - 1) * gap
    low, high = (0.0, room) if room > 0 else (room / 2, room / 2)
    places = [min(max(mean, low), high) for mean, count in blocks for _ in range(int(count))]
    return [place + i * gap for i, place in enumerate(places)]


def log_axis(axis: Axis, low: float, high: float, units: Sequence[tuple[float, str]] = ((1.0, ""),)) -> None:
    """Make an axis logarithmic from `low` to `high`, both positive, with a few plain numbers.

    They are in the first of the units, by size and name, that reaches into the axis.
    """
    scale, unit = next(
        ((size, f" {name}".rstrip()) for size, name in units if size <= math.sqrt(low * high)), (1.0, "")
    )
    horizontal = axis is axis.axes.xaxis
    (axis.axes.set_xscale if horizontal else axis.axes.set_yscale)("log")
    axis.set_major_locator(FixedLocator([tick * scale for tick in log_ticks(low / scale, high / scale)]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale:g}{unit}" if unit else short(value)))
    axis.set_minor_formatter(NullFormatter())
    (axis.axes.set_xlim if horizontal else axis.axes.set_ylim)(low, high)


def log_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers in between, or two less round ones."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = -(-(last - first) // 7)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{d}e{k}") for k in range(first, last + 1, every) for d in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 2:
            return ticks
    return [float(f"{tick:.2g}") for tick in np.geomspace(low, high, 5)[1:4:2]]


def short(value: float) -> str:
    """A number at an axis: 0.05, 20, 5k, 2M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if scale <= abs(value) < 1e3 * scale:
            return f"{value / scale:.3g}{unit}"
    value = float(f"{value:.3g}")
    return f"{value:g}" if 1e-4 <= abs(value) < 1e3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def size_ticks(axis: Axis, sizes: Sequence[float], low: float, high: float) -> None:
    """Numbers at those sizes themselves, as far as they do not stand too close, on a logarithmic axis."""
    shown: list[float] = []
    for size in sorted(set(sizes)):
        if not shown or math.log(size / shown[-1]) > CLOSEST * math.log(high / low):
            shown.append(size)
    axis.set_major_locator(FixedLocator(shown))


def within(values: Sequence[Interval], log: bool = True) -> list[float]:
    """The values, and as much of their intervals as should be seen: on a logarithmic axis up to twice as far."""
    if not log:
        return [end for one in values for end in (one.low, one.value, one.high)]
    return [end for v in values for end in (max(v.low, v.value / 2), v.value, min(v.high, v.value * 2))]


def widened(values: Sequence[float], share: float = 0.06, log: bool = True) -> tuple[float, float]:
    """Limits that leave a little room around at least one value; all must be positive on a logarithmic axis."""
    low, high = min(values), max(values)
    if log:
        factor = max(high / low, 1.05) ** share
        return low / factor, high * factor
    room = max(high - low, 1e-3 * max(abs(high), abs(low)), 1e-9) * share
    return low - room, high + room
