"""Whether values rise or fall from the first to the last: Mann and Kendall's test, and Theil and Sen's slope.

`scipy.stats` has both (`kendalltau`, `theilslopes`). Each process that measures asks for a trend, and importing
scipy.stats would take 0.7 s and 46 MiB there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PIECES = 20  # neighbours are alike, so a long series is judged by the medians of so many pieces
UNLIKELY = 0.01


@dataclass(frozen=True)
class Trend:
    """How values move in the order in which they came."""

    change: float
    """The last over the first, on the line through the logarithms whose slope is the median of all slopes."""
    chance: float
    """How often values in random order would rise or fall as steadily (two-sided)."""

    def exceeds(self, ratio: float) -> bool:
        """Whether the values surely moved, and by more than the factor `ratio` (above 1) up or down."""
        return self.chance < UNLIKELY and max(self.change, 1 / self.change) > ratio


def trend(values: Sequence[float]) -> Trend:
    """The trend of at least one positive value."""
    pieces = np.array_split(np.log(np.asarray(values, dtype=float)), min(PIECES, len(values)))
    series = np.array([np.median(piece) for piece in pieces])
    n = len(series)
    if n < 2:
        return Trend(1.0, 1.0)
    first, second = np.triu_indices(n, 1)
    steps = series[second] - series[first]
    score = abs(float(np.sign(steps).sum()))
    # Kendall's normal approximation, corrected for continuity: a little above the exact chance where that is small.
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    chance = min(1.0, math.erfc((score - 1) / deviation / math.sqrt(2)))
    slope = float(np.median(steps / (second - first)))
    return Trend(math.exp(slope * (n - 1)), chance)
