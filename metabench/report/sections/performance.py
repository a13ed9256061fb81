"""Performance profiles: in what share of the settings each is within a factor of the best (Dolan and Moré, 2002)."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

from metabench.record.cell import Cell, varying
from metabench.record.measurement import Repetition
from metabench.report.axes import MACHINE, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import Bundle, work_key
from metabench.report.marks import DISTURBED
from metabench.report.numbers import trim, with_interval
from metabench.report.render.tables import Table, setting, technique_text, techniques
from metabench.report.results import Run
from metabench.report.sections.base import Column, section, table_of
from metabench.report.sections.target import GROUP, ToTarget, targets
from metabench.statistics.profiles import NEVER, Costs, Curve, curves_of, in_common
from metabench.statistics.spread import ROUNDS_TO_TELL
from metabench.text import counted

MOST_NAMED = 12
"""Settings that get a line each."""
TITLE = in_title_order((*TASK, *SIZES, *TECHNIQUES, *MACHINE))
ENGINES_MOST, ALGORITHMS_MOST = 100.0, 10.0
"""Up to what factor a profile goes."""

_Setting: TypeAlias = Hashable
"""A key that tells a setting apart."""


@dataclass
class _Tried:
    """What was tried in each setting."""

    costs: dict[_Setting, dict[str, dict[int, float]]] = field(default_factory=dict)
    """Seconds by name and replicate."""
    where: dict[_Setting, Cell] = field(default_factory=dict)
    """A cell of the setting."""
    cells: dict[str, dict[str, None]] = field(default_factory=dict)
    """Ids of what was measured, by name."""
    disturbed: dict[_Setting, set[str]] = field(default_factory=dict)
    """Names of which a time was disturbed."""


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
    """The settings in words."""
    curves: tuple[Curve, ...]
    left_out: tuple[str, ...]
    """Names that were tried in too few of the settings, or with too few replicates of them."""
    cells: Mapping[str, tuple[str, ...]]
    """Ids of what was measured, by name."""
    not_shared: tuple[str, ...] = ()
    """The other settings, in words: not all names were tried there."""
    common: str = ""
    """What all settings that are shared have in common, in words."""
    disturbed: frozenset[str] = frozenset()
    """Names whose curves stand on a disturbed time: their own, or that of the best in a setting."""

    @property
    def told(self) -> bool:
        """Whether there are enough rounds or seeds, the same ones in all settings, for an interval over them."""
        return len(self.curves[0].replicates) >= ROUNDS_TO_TELL

    @property
    def counts(self) -> list[int]:
        """How many rounds or seeds each setting has."""
        return [len(ratios) for ratios in self.curves[0].ratios]

    @property
    def many(self) -> str:
        """How many rounds or seeds a setting has, in words."""
        least, most = min(self.counts), max(self.counts)
        return counted(most, self.replicate) if least == most else f"{least} to {counted(most, self.replicate)}"


@section("Performance profiles", place=100)
def profiles_tables(run: Run) -> Iterator[Table]:
    """A table for engines and one for algorithms, each where there are at least two settings."""
    return map(_table, profiles(run))


def profiles(run: Run) -> list[Profile]:
    """Profiles of engines by the time of a meta-iteration, and of algorithms by their time to target."""
    return [profile for made in (_engines(run), _algorithms(run)) if (profile := made)]


def _engines(run: Run) -> Profile | None:
    tried, repetitions = _Tried(), sorted({row.repetition for row in run.measurements})
    numbers = {repetition: number for number, repetition in enumerate(repetitions)}
    for bundle in run.timed:
        if bundle.asked_for("time"):
            work, engine = work_key(bundle.cell), bundle.cell.engine
            tried.where.setdefault(work, bundle.cell)
            tried.costs.setdefault(work, {})[engine] = _seconds(bundle, numbers)
            tried.cells.setdefault(engine, {}).update(dict.fromkeys(bundle.ids))
            tried.disturbed.setdefault(work, set()).update({engine} if bundle.disturbed else ())
    axes = ("algorithm", *TITLE)
    return _profile("engine", "time of a meta-iteration", "repetition", ENGINES_MOST, tried, axes)


def _seconds(bundle: Bundle, numbers: Mapping[Repetition, int]) -> dict[int, float]:
    """Seconds by the number of the repetition; `NEVER` in one that gave none."""
    tried = sorted({row.repetition for row in bundle.rows if "time" in row.cell.measure})
    return {numbers[one]: median(bundle.samples[one]) if one in bundle.samples else NEVER for one in tried}


def _algorithms(run: Run) -> Profile | None:
    tried = _Tried()
    for number, target in enumerate(targets(run)):
        tried.where[number] = target.lines[0].bundle.cell
        at: dict[str, dict[int, float]] = {}
        for line in target.lines:
            cell, name = line.bundle.cell, line.bundle.algorithm
            name += f", {technique_text(cell)}" if techniques(cell) else ""
            found = _to_target(line)
            # the same algorithm in two sizes: the one that more seeds reach the target with, or else the faster one
            at[name] = min(at.get(name, found), found, key=_failures_and_seconds)
            tried.cells.setdefault(name, {}).update(dict.fromkeys(line.bundle.ids))
            tried.disturbed.setdefault(number, set()).update({name} if line.bundle.disturbed else ())
        # Of fewer seeds than others have, a share would not be that of the table of times to target.
        seeds = {seed for found in at.values() for seed in found}
        tried.costs[number] = {name: found for name, found in at.items() if found.keys() == seeds}
    return _profile("algorithm", "time to target", "seed", ALGORITHMS_MOST, tried, GROUP)


def _to_target(line: ToTarget) -> dict[int, float]:
    return {seed: line.crossings[seed].seconds if seed in line.crossings else NEVER for seed in line.tried}


def _failures_and_seconds(seconds: Mapping[int, float]) -> tuple[int, float, float]:
    """A key by which a training that was tried with more seeds is the least, then one that fails less, then faster."""
    reached = [found for found in seconds.values() if found < NEVER]
    return -len(seconds), len(seconds) - len(reached), sum(reached)


def _profile(kind: str, what: str, replicate: str, most: float, tried: _Tried, axes: Sequence[str]) -> Profile | None:
    costs = tried.costs
    names, shared = in_common(costs)
    shared = [key for key in shared if set.intersection(*(set(costs[key][name]) for name in names))]
    curves = curves_of([costs[key] for key in shared], names) if len(names) > 1 and len(shared) > 1 else []
    if not curves:
        return None
    where = [tried.where[key] for key in shared]
    changing = varying(where, axes)
    return Profile(
        kind,
        what,
        replicate,
        most,
        tuple(_words(cell, changing) for cell in where),
        tuple(sorted(curves, key=lambda curve: (-curve.area(most).value, curve.name))),
        tuple(sorted(tried.cells.keys() - set(names))),
        {name: tuple(tried.cells[name]) for name in names},
        tuple(_words(tried.where[key], axes) for key in costs if key not in shared),
        _words(where[0], [axis for axis in axes if axis not in changing]),
        frozenset(name for key in shared for name in _in_doubt(costs[key], tried.disturbed[key], names)),
    )


def _words(cell: Cell, axes: Sequence[str]) -> str:
    """A setting in words; the algorithm stands by its name alone."""
    algorithm = [cell.algorithm] if "algorithm" in axes else []
    rest = setting(cell, [axis for axis in axes if axis != "algorithm"], {})
    return ", ".join([*algorithm, *([rest] if rest else [])])


def _in_doubt(costs: Costs, disturbed: set[str], names: Collection[str]) -> Collection[str]:
    """The names whose ratios in a setting stand on a disturbed time; all of them, where it may be the best one."""
    best = min(names, key=lambda name: min(costs[name].values()))
    return names if best in disturbed else disturbed & set(names)


def _table(profile: Profile) -> Table:
    def marked(curve: Curve, text: str) -> str:
        return text + (DISTURBED if curve.name in profile.disturbed else "")

    columns: list[Column[Curve]] = [
        Column(profile.kind, lambda curve: curve.name),
        Column("area", lambda curve: marked(curve, area_text(curve, profile.most))),
        Column("best", lambda curve: marked(curve, percent(curve.within(1.0)))),
        Column("within 2×", lambda curve: marked(curve, percent(curve.within(2.0)))),
        Column("within 10×", lambda curve: marked(curve, percent(curve.within(10.0)))),
        Column("failures", lambda curve: percent(curve.never)),
    ]
    notes = [f"area: below the profile, from 1 to {profile.most:g} times on a logarithmic axis; 1: always the best."]
    if profile.told:
        notes.append(f"95 % intervals are over {profile.replicate}s, for these settings.")
    elif min(profile.counts) < ROUNDS_TO_TELL:
        notes.append(f"No intervals: {profile.many} do not tell how {profile.replicate}s differ.")
    else:
        notes.append(f"No intervals: not all settings have the same {profile.replicate}s.")
    if profile.kind == "algorithm":
        notes.append("Seeds that did not reach the target count as failures.")
    notes.append(f"All settings: {profile.common}.")
    many = [f" ({counted(count, profile.replicate)})" * (len(set(profile.counts)) > 1) for count in profile.counts]
    settings = list(zip(profile.settings, many, strict=True))
    notes += [f"setting: {words}{count}" for words, count in settings[:MOST_NAMED]]
    if len(profile.settings) > MOST_NAMED:
        notes.append(f"and {len(profile.settings) - MOST_NAMED} more settings")
    if profile.left_out:
        few = f"settings, or with too few {profile.replicate}s of them"
        notes.append(f"Tried in too few of the {few}, and left out: {', '.join(profile.left_out)}.")
    if profile.not_shared:
        lost, words = len(profile.not_shared), profile.not_shared[0] if len(profile.not_shared) == 1 else ""
        notes.append(f"Not tried by all of these, and left out: {words or counted(lost, 'setting')}.")
    return table_of(
        f"Performance profile of {profile.kind}s: {profile.what}",
        f"Dolan–Moré performance profile: the share of {len(profile.settings)} settings in which the {profile.what} is "
        f"within a factor of the best. Each setting has {profile.many} and counts by the share of them.",
        columns,
        profile.curves,
        lambda curve: profile.cells[curve.name],
        notes,
    )


def area_text(curve: Curve, most: float) -> str:
    """The area with its interval, where there is one."""
    area = curve.area(most)
    if len(curve.replicates) < ROUNDS_TO_TELL:
        return trim(area.value, 0, 0)
    return with_interval(area) if area.low < area.high else f"{trim(area.value, 0, 0)} in every one"


def percent(share: float) -> str:
    """A share of what was counted, exact."""
    return f"{100 * share:.0f} %"
