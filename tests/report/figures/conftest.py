"""What the tests of all pictures share."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from plot_texts import check_texts


@pytest.fixture
def readable() -> Callable[[Figure, int], None]:
    """Checks that a figure has so many texts at least, and that each can be read: see `check_texts`."""

    def check(figure: Figure, texts: int) -> None:
        assert check_texts(figure) >= texts

    return check


@pytest.fixture
def line_of() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The points of an axes' line in data units that has this colour and most points: (x, y)."""

    def find(axes, colour):
        lines = [line for line in axes.lines if line.get_color() == colour and line.get_transform() != axes.transAxes]
        best = max(lines, key=lambda line: len(line.get_xdata()))
        return np.asarray(best.get_xdata(), dtype=float), np.asarray(best.get_ydata(), dtype=float)

    return find
