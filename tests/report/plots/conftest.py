"""What the tests of all pictures share."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts_of(figure: Figure) -> list[Text]:
    """All that can be read in a figure: of an axis's numbers, those within its limits."""
    found = [text for part in (figure, *figure.subfigs) for text in (part._suptitle, *part.texts) if text]
    for axes in figure.get_axes():
        if axes.get_visible():
            for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                low, high = sorted(limits)
                found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                found.append(axis.label)
            found += [axes._left_title, *axes.texts]
    return [text for text in dict.fromkeys(found) if text.get_text()]


def check(figure: Figure, texts: int) -> None:
    """That there are so many texts at least, none is cut off, and none covers another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts_of(figure)}
    assert len(boxes) >= texts
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for text, other in combinations(boxes, 2):
        assert not boxes[text].overlaps(boxes[other]), (text, other)


@pytest.fixture
def readable() -> Callable[[Figure, int], None]:
    """Checks that every text of a figure can be read: see `check`."""
    return check


@pytest.fixture
def line_of() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The points of an axes' line in data units that has this colour and most points: (x, y)."""

    def find(axes, colour):
        lines = [line for line in axes.lines if line.get_color() == colour and line.get_transform() != axes.transAxes]
        best = max(lines, key=lambda line: len(line.get_xdata()))
        return np.asarray(best.get_xdata(), dtype=float), np.asarray(best.get_ydata(), dtype=float)

    return find
