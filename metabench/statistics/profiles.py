"""Performance profiles of Dolan and Moré (2002): in what share of the settings each is within a factor of the best."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeAlias, TypeVar

from metabench.statistics.ratios import Interval
from metabench.statistics.spread import ROUNDS_TO_TELL, student

FEWEST_SETTINGS = 2
NEVER = math.inf
"""The ratio of what failed, and of what took any time where the best took none."""
Costs: TypeAlias = Mapping[str, Mapping[int, float]]
"""Seconds by name and replicate: a round or a seed. A name with a replicate that has no seconds failed in it."""
Setting = TypeVar("Setting", bound=Hashable)


@dataclass(frozen=True)
class Curve:
    """One name's ratios to the best, for each setting and replicate."""

    name: str
    ratios: tuple[Mapping[int, float], ...]
    """Ratios by replicate, one mapping for each setting; `NEVER` where the name failed."""
    never: float = 0.0
    """The share of settings in which it failed; a setting counts by the share of its replicates."""

    @property
    def every(self) -> list[float]:
        """All ratios, the smallest first."""
        return sorted(ratio for ratios in self.ratios for ratio in ratios.values())

    @property
    def replicates(self) -> list[int]:
        """The replicates, where all settings have the same ones; else none."""
        first, *others = (ratios.keys() for ratios in self.ratios)
        return sorted(first) if all(other == first for other in others) else []

    def within(self, factor: float) -> float:
        """The share of settings in which it takes at most so many times as long as the best.

        A setting counts as much as any other, however many replicates it has: by the share of them.
        """
        return self._mean(lambda ratio: float(ratio <= factor))

    def area(self, most: float) -> Interval:
        """The area under the profile from 1 to `most` on a logarithmic axis; 1 for a name that is always the best.

        Where all settings have the same replicates, three at least, with Student's interval over the replicates' areas,
        cut off at 0 and 1.
        """

        def under(ratio: float) -> float:
            return max(0.0, 1 - math.log(ratio) / math.log(most))

        centre, numbers = self._mean(under), self.replicates
        if len(numbers) < ROUNDS_TO_TELL:
            return Interval(centre, centre, centre)
        areas = [fmean(under(ratios[number]) for ratios in self.ratios) for number in numbers]
        half = student(len(areas) - 1) * stdev(areas) / math.sqrt(len(areas))
        return Interval(centre, max(0.0, centre - half), min(1.0, centre + half))

    def _mean(self, worth: Callable[[float], float]) -> float:
        return fmean(fmean(map(worth, ratios.values())) for ratios in self.ratios)


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

    Ratios are formed within a setting's replicate, of those that all names have there.
    """
    found: dict[str, list[dict[int, float]]] = {name: [] for name in names}
    failed: dict[str, list[float]] = {name: [] for name in names}
    for at in settings:
        common = sorted(set.intersection(*(set(at[name]) for name in names)))
        best = {number: min(at[name][number] for name in names) for number in common}
        if common:
            for name in names:
                found[name].append({number: _ratio(at[name][number], best[number]) for number in common})
                failed[name].append(fmean(math.isinf(at[name][number]) for number in common))
    if not any(ratio < NEVER for ratios in found.values() for each in ratios for ratio in each.values()):
        return []
    return [Curve(name, tuple(found[name]), fmean(failed[name])) for name in names]


def _ratio(seconds: float, best: float) -> float:
    if math.isinf(seconds):
        return NEVER
    return 1.0 if seconds == best else seconds / best if best else NEVER
