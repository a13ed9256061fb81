"""Performance profiles: in what share of the settings each is within a factor of the best (Dolan and Moré, 2002)."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import TypeAlias

from metabench.record.measurement import Measurement
from metabench.report.bundles import Bundle, bundles, time_key
from metabench.report.numbers import trim, with_interval
from metabench.report.render.tables import TECHNIQUE_AXES, Section, Table, setting, technique_text, techniques
from metabench.report.sections.target import GROUP_AXES, ToTarget, targets
from metabench.statistics.ratios import ROUNDS_TO_TELL, Interval, student

FEWEST_SETTINGS = 2
MOST_NAMED = 12
"""Settings that get a line each."""
NEVER = math.inf
"""The ratio of who failed."""
SETTING_AXES = (
    *("task", "ways", "shots", "model", "inner_steps", "meta_batch", "query", "train_ways", "train_shots"),
    *("device", "threads", "world_size", "machine", *TECHNIQUE_AXES),
)
ENGINES_MOST, ALGORITHMS_MOST = 100.0, 10.0
"""Up to what factor a profile goes."""

Costs: TypeAlias = Mapping[str, Mapping[int, float]]
"""Seconds by name and replicate: a round or a seed. A name with a replicate that has no seconds failed in it."""

_Setting: TypeAlias = tuple[str, Hashable]
"""In words, and what tells it apart."""


@dataclass(frozen=True)
class Curve:
    """One name's ratios to the best: one for each setting and replicate, in the order of the profile's replicates."""

    name: str
    ratios: Mapping[int, tuple[float, ...]]
    """By replicate; `NEVER` where it failed."""

    @property
    def every(self) -> list[float]:
        """All ratios, the smallest first."""
        return sorted(ratio for ratios in self.ratios.values() for ratio in ratios)

    def within(self, factor: float) -> float:
        """The share of settings in which it takes at most so many times as long as the best."""
        return sum(ratio <= factor for ratio in self.every) / len(self.every)

    def area(self, most: float) -> Interval:
        """The area under the profile from 1 to `most` on a logarithmic axis, of 1 for who is always the best.

        Formed in each replicate and averaged; from three on with Student's interval over them, cut off at 0 and 1.
        """
        areas = [fmean(max(0.0, 1 - math.log(r) / math.log(most)) for r in ratios) for ratios in self.ratios.values()]
        centre = fmean(areas)
        if len(areas) < ROUNDS_TO_TELL:
            return Interval(centre, centre, centre)
        half = student(len(areas) - 1) * stdev(areas) / math.sqrt(len(areas))
        return Interval(centre, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class Profile:
    """The curves of all that were tried in the same settings, the largest area first."""

    kind: str
    """`engine` or `algorithm`."""
    what: str
    """What is compared."""
    replicate: str
    most: float
    settings: tuple[str, ...]
    """In words."""
    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]
    """Names that were tried in too few of the settings."""
    cells: Mapping[str, tuple[str, ...]]
    """Ids of what was measured, by name."""


def profiles_section(rows: Sequence[Measurement]) -> Section:
    """A table for engines and one for algorithms, each where there are at least two settings."""
    return Section("Performance profiles", tuple(_table(profile) for profile in profiles(rows)))


def profiles(rows: Sequence[Measurement]) -> list[Profile]:
    """Of engines by the time of a meta-iteration, and of algorithms by their time to target."""
    return [profile for made in (_engines(rows), _algorithms(rows)) if (profile := made)]


def _engines(rows: Sequence[Measurement]) -> Profile | None:
    costs: dict[_Setting, dict[str, dict[int, float]]] = {}
    cells: dict[str, dict[str, None]] = {}
    for bundle in bundles(rows, time_key):
        if bundle.asked_for("time"):
            engine = str(bundle.cell.engine)
            key = tuple(pair for pair in time_key(bundle.cell) if pair[0] != "engine")
            work = (f"{bundle.algorithm}, {setting(bundle.cell, SETTING_AXES, {})}", key)
            costs.setdefault(work, {})[engine] = _seconds(bundle)
            cells.setdefault(engine, {}).update(dict.fromkeys(bundle.ids))
    return _profile("engine", "time of a meta-iteration", "round", ENGINES_MOST, costs, cells)


def _seconds(bundle: Bundle) -> dict[int, float]:
    """By round; `NEVER` in a round that gave none."""
    tried = {int(row.round) for row in bundle.rows if "time" in row.cell.measure}
    return {number: median(bundle.samples[number]) if number in bundle.samples else NEVER for number in sorted(tried)}


def _algorithms(rows: Sequence[Measurement]) -> Profile | None:
    costs: dict[_Setting, dict[str, dict[int, float]]] = {}
    cells: dict[str, dict[str, None]] = {}
    for number, target in enumerate(targets(rows)):
        key = (setting(target.lines[0].bundle.cell, GROUP_AXES, {}), number)
        for line in target.lines:
            name = _name(line)
            before = costs.setdefault(key, {}).get(name)
            found = _to_target(line)
            # the same algorithm in two sizes: the faster one stands for it
            if before is None or sum(found.values()) < sum(before.values()):
                costs[key][name] = found
            cells.setdefault(name, {}).update(dict.fromkeys(line.bundle.ids))
    return _profile("algorithm", "time to target", "seed", ALGORITHMS_MOST, costs, cells)


def _name(line: ToTarget) -> str:
    cell = line.bundle.cell
    return line.bundle.algorithm + (f", {technique_text(cell)}" if techniques(cell) else "")


def _to_target(line: ToTarget) -> dict[int, float]:
    seeds = {int(row.cell.seed) for row in line.bundle.rows if "quality" in row.cell.measure}
    return {seed: line.crossings[seed].seconds if seed in line.crossings else NEVER for seed in sorted(seeds)}


def _profile(
    kind: str,
    what: str,
    replicate: str,
    most: float,
    costs: Mapping[_Setting, Costs],
    cells: Mapping[str, Mapping[str, None]],
) -> Profile | None:
    names = sorted({name for at in costs.values() for name in at})
    shared = _shared(costs, names)
    while len(names) > 1 and len(shared) < FEWEST_SETTINGS:
        # who was tried least often would leave no setting that all share
        names.remove(min(names, key=lambda name: sum(name in at for at in costs.values())))
        shared = _shared(costs, names)
    if len(names) < 2:
        return None
    curves = _curves([costs[key] for key in shared], names)
    if not curves:
        return None
    ordered = tuple(sorted(curves, key=lambda curve: (-curve.area(most).value, curve.name)))
    left_out = tuple(sorted({name for at in costs.values() for name in at} - set(names)))
    ids = {name: tuple(cells[name]) for name in names}
    return Profile(kind, what, replicate, most, tuple(words for words, _ in shared), ordered, left_out, ids)


def _shared(costs: Mapping[_Setting, Costs], names: Sequence[str]) -> list[_Setting]:
    return [key for key, at in costs.items() if all(name in at for name in names)]


def _curves(settings: Sequence[Costs], names: Sequence[str]) -> list[Curve]:
    """Ratios formed within a replicate; of those in which all were tried, in every setting."""
    common = sorted(set.intersection(*(set(at[name]) for at in settings for name in names)))
    found: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for number in common:
        for at in settings:
            best = min(at[name][number] for name in names)
            for name in names:
                seconds = at[name][number]
                ratio = NEVER if math.isinf(seconds) else 1.0 if seconds == best else seconds / best if best else NEVER
                found[name].setdefault(number, []).append(ratio)
    if not any(ratio < NEVER for ratios in found.values() for each in ratios.values() for ratio in each):
        return []
    return [Curve(name, {number: tuple(each) for number, each in found[name].items()}) for name in names]


def _table(profile: Profile) -> Table:
    replicates = len(profile.curves[0].ratios)
    many = f"{replicates} {profile.replicate}{'' if replicates == 1 else 's'}"
    columns: list[tuple[str, Callable[[Curve], str]]] = [
        (profile.kind, lambda curve: curve.name),
        ("area", lambda curve: area_text(curve, profile.most)),
        ("the best", lambda curve: percent(curve.within(1.0))),
        ("within 2 times", lambda curve: percent(curve.within(2.0))),
        ("within 10 times", lambda curve: percent(curve.within(10.0))),
        ("never", lambda curve: percent(curve.every.count(NEVER) / len(curve.every))),
    ]
    says = (
        f"{profile.what.capitalize()} against the best, in {len(profile.settings)} settings that all share and {many}: "
        "the share of them in which each is within so many times of the best."
    )
    notes = [f"area: under that share, from 1 to {profile.most:g} times on a logarithmic axis; 1 is always the best."]
    if replicates < ROUNDS_TO_TELL:
        notes.append(f"No intervals: of {many} nothing is known of how {profile.replicate}s differ.")
    else:
        notes.append(f"Intervals (95 %) are over {profile.replicate}s: of these settings, not of others.")
    notes.append("never: failed, or did not reach the target.")
    notes += [f"setting: {words}" for words in profile.settings[:MOST_NAMED]]
    if len(profile.settings) > MOST_NAMED:
        notes.append(f"and {len(profile.settings) - MOST_NAMED} settings more")
    if profile.left_out:
        notes.append(f"Tried in too few of the settings, and left out: {', '.join(profile.left_out)}.")
    rows = tuple(tuple(text(curve) for _, text in columns) for curve in profile.curves)
    title = f"{profile.kind.capitalize()}s over settings: {profile.what}"
    cells = tuple(profile.cells[curve.name] for curve in profile.curves)
    return Table(title, says, tuple(name for name, _ in columns), rows, tuple(notes), cells)


def area_text(curve: Curve, most: float) -> str:
    """The area with its interval, where there is one."""
    area = curve.area(most)
    if len(curve.ratios) < ROUNDS_TO_TELL:
        return trim(area.value, 0, 0)
    return with_interval(area) if area.low < area.high else f"{trim(area.value, 0, 0)} in every one"


def percent(share: float) -> str:
    """A share of what was counted, exact."""
    return f"{100 * share:.0f} %"
