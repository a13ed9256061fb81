"""Performance profiles of Dolan and Moré (2002): in what share of the settings each is within a factor of the best."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeAlias, TypeVar

from metabench.statistics.ratios import ROUNDS_TO_TELL, Interval
from metabench.statistics.spread import student

FEWEST_SETTINGS = 2
NEVER = math.inf
"""The ratio of what failed."""
Costs: TypeAlias = Mapping[str, Mapping[int, float]]
"""Seconds by name and replicate: a round or a seed. A name with a replicate that has no seconds failed in it."""
Setting = TypeVar("Setting", bound=Hashable)


@dataclass(frozen=True)
class Curve:
    """One name's ratios to the best: one for each setting and replicate, in the order of the profile's replicates."""

    name: str
    ratios: Mapping[int, tuple[float, ...]]
    """Ratios by replicate; `NEVER` where the name failed."""

    @property
    def every(self) -> list[float]:
        """All ratios, the smallest first."""
        return sorted(ratio for ratios in self.ratios.values() for ratio in ratios)

    def within(self, factor: float) -> float:
        """The share of settings in which it takes at most so many times as long as the best."""
        return sum(ratio <= factor for ratio in self.every) / len(self.every)

    def area(self, most: float) -> Interval:
        """The area under the profile from 1 to `most` on a logarithmic axis; 1 for a name that is always the best.

        Formed in each replicate and averaged; from three on with Student's interval over them, cut off at 0 and 1.
        """
        areas = [fmean(max(0.0, 1 - math.log(r) / math.log(most)) for r in ratios) for ratios in self.ratios.values()]
        centre = fmean(areas)
        if len(areas) < ROUNDS_TO_TELL:
            return Interval(centre, centre, centre)
        half = student(len(areas) - 1) * stdev(areas) / math.sqrt(len(areas))
        return Interval(centre, max(0.0, centre - half), min(1.0, centre + half))


def in_common(costs: Mapping[Setting, Costs]) -> tuple[list[str], list[Setting]]:
    """The names that were tried in the same settings, two at least, and these settings."""
    names = sorted({name for at in costs.values() for name in at})
    while True:
        shared = [key for key, at in costs.items() if all(name in at for name in names)]
        if len(names) < 2 or len(shared) >= FEWEST_SETTINGS:
            return names, shared
        # the one that was tried least often would leave no setting that all share
        names.remove(min(names, key=lambda name: sum(name in at for at in costs.values())))


def curves_of(settings: Sequence[Costs], names: Sequence[str]) -> list[Curve]:
    """The curve of each name; none where all failed everywhere.

    Ratios are formed within a replicate, of those in which all names were tried in every setting.
    """
    common = sorted(set.intersection(*(set(at[name]) for at in settings for name in names)))
    found: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for number in common:
        for at in settings:
            best = min(at[name][number] for name in names)
            for name in names:
                found[name].setdefault(number, []).append(_ratio(at[name][number], best))
    if not any(ratio < NEVER for ratios in found.values() for each in ratios.values() for ratio in each):
        return []
    return [Curve(name, {number: tuple(each) for number, each in found[name].items()}) for name in names]


def _ratio(seconds: float, best: float) -> float:
    if math.isinf(seconds):
        return NEVER
    return 1.0 if seconds == best else seconds / best if best else NEVER
