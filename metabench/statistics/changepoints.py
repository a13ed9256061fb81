"""Where a line of measurements steps up or down for good."""

from collections.abc import Sequence
from math import hypot

import numpy as np

SHORTEST = 2
"""How many measurements a level needs: a single one that stands out is an outlier, or not confirmed yet."""
PENALTY = 5.0
"""What a step must explain of the residual, in deviations of the noise."""
NORMAL_HALF = 1.96  # half a 95 % interval, in deviations
NORMAL_MEDIAN = 0.6745  # the median of the distance to the mean, in deviations


def change_points(logarithms: Sequence[float], halves: Sequence[float], floor: float) -> list[int]:
    """The index of each measurement with which a new level begins.

    `logarithms` are of times, `halves` are half the widths of their intervals. The line is cut into levels of at least
    two measurements, so that the sum of the distances to the levels' medians, plus a penalty for each step, is
    smallest (distances, since squares would follow outliers). The penalty is in units of the noise: the median of how
    much neighbours differ, but no less than the intervals say. A step then stays only if the medians on both sides
    differ by more than `floor`, and by more than the typical half-widths on both sides taken together.

    The method is optimal partitioning (Jackson et al., 2005). `ruptures.Pelt` minimises the same sum, but with levels
    of two at least its pruning misses the smallest one: in 3 of 100 random lines of 4 to 40 measurements.
    """
    values, widths = np.asarray(logarithms, dtype=float), np.asarray(halves, dtype=float)
    if len(values) < 2 * SHORTEST:
        return []
    cuts = _partition(values, PENALTY * _noise(values, widths))
    while cuts:
        steps = [_excess(values, widths, floor, begin, cut, end) for begin, cut, end in _around(cuts, len(values))]
        if min(steps) > 0:
            return cuts
        cuts.pop(int(np.argmin(steps)))
    return cuts


def _noise(values: np.ndarray, widths: np.ndarray) -> float:
    of_neighbours = float(np.median(np.abs(np.diff(values)))) / (NORMAL_MEDIAN * 2**0.5)
    return max(of_neighbours, float(np.median(widths)) / NORMAL_HALF)


def _partition(values: np.ndarray, penalty: float) -> list[int]:
    """The cuts of the cheapest partition, by dynamic programming over the beginning of its last level."""
    count = len(values)
    best = [-penalty] + [np.inf] * count
    begun = [0] * (count + 1)
    for end in range(SHORTEST, count + 1):
        for begin in range(end - SHORTEST + 1):
            level = values[begin:end]
            cost = best[begin] + penalty + float(np.abs(level - np.median(level)).sum())
            if cost < best[end]:
                best[end], begun[end] = cost, begin
    cuts = []
    end = count
    while end > 0:
        end = begun[end]
        cuts.append(end)
    return sorted(cuts)[1:]


def _around(cuts: Sequence[int], count: int) -> list[tuple[int, int, int]]:
    """Each cut between where its left level begins and its right one ends."""
    edges = [0, *cuts, count]
    return list(zip(edges, edges[1:], edges[2:], strict=False))


def _excess(values: np.ndarray, widths: np.ndarray, floor: float, begin: int, cut: int, end: int) -> float:
    """Height of a step beyond what noise would explain."""
    step = abs(float(np.median(values[cut:end]) - np.median(values[begin:cut])))
    return step - max(floor, hypot(float(np.median(widths[begin:cut])), float(np.median(widths[cut:end]))))
