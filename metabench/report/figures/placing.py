"""Places in inches: what a solver of layouts finds differs in the last digits from one time to the next."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import TextPath


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """New axes whose frame is so wide and high, and begins so far from the figure's left and upper edge."""
    axes = figure.add_axes((0, 0, 1, 1), label=f"axes {len(figure.axes)}")
    move(axes, left, top, width, height)
    return axes


def move(axes: Axes, left: float, top: float, width: float, height: float) -> None:
    """Put axes there."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    across, high = figure.get_size_inches()
    axes.set_position((left / across, 1 - (top + height) / high, width / across, height / high))


def add_text(figure: Figure, left: float, top: float, text: str, **looks: Any) -> Text:
    """A text whose middle line is so far from the figure's upper edge."""
    across, high = figure.get_size_inches()
    return figure.text(left / across, 1 - top / high, text, **{"va": "center", **looks})


def inches(text: str, points: float, bold: bool = False) -> float:
    """How long a line is in the pictures' font, whatever draws it."""
    if not text.strip():
        return 0.0
    prop = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=points, prop=prop).get_extents().width) / 72
