"""What of two runs can be compared: costs of the same work, scores of the same training, and what one run alone has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from operator import itemgetter
from typing import Literal, TypeAlias

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.report.bundles import (
    Bundle,
    Key,
    bundles,
    ids_of,
    status,
    status_and_reason,
    time_key,
    training_key,
)
from metabench.report.render.tables import axis_word
from metabench.report.results import Run
from metabench.report.scores import on_other_data, scores_of

Side: TypeAlias = Literal["base", "new"]
Matched: TypeAlias = Mapping[Key, Bundle]
COSTS = frozenset({"time", "memory", "instructions"})
SCORES = frozenset({"quality"})
NOTHING_IN_COMMON = "the runs have no configuration in common"
MOST_LOOKED_AT = 300
MOST_NAMED = 4
"""Axes that a sentence names."""


@dataclass(frozen=True)
class Work:
    """What a run has to compare, by what makes it the same in another run."""

    run: Run
    costs: Matched
    """Cells that measured time, memory or instructions, by all axes that these depend on."""
    trainings: Matched
    """Cells that measured a score, by all axes but the seed."""


@dataclass(frozen=True)
class StatusChange:
    """A cell whose statuses differ."""

    cell: Cell
    ids: tuple[str, ...]
    base: str
    new: str


@dataclass(frozen=True)
class Alone:
    """Figures that one run has, and the other has not, or has of other data."""

    cell: Cell
    side: Side
    """Run that has them."""
    figures: tuple[str, ...]
    """Some of `time`, `peak memory`, `instructions`, `score`; empty where the run has no figure of that cell either."""
    why: str
    """What the other run has instead."""


def work_of(run: Run) -> Work:
    """What a run has to compare."""
    return Work(run, _by(time_key, run, COSTS), _by(training_key, run, SCORES))


def _by(key: Callable[[Cell], Key], run: Run, measures: frozenset[str]) -> Matched:
    """The rows that were to measure one of these. One that was found incorrect condemns its cell in any case."""
    ids = {row.id for row in run.measurements if not measures.isdisjoint(row.cell.measure)}
    rows = [
        row
        for row in run.measurements
        if not measures.isdisjoint(row.cell.measure) or (row.status == "incorrect" and row.id in ids)
    ]
    return {key(bundle.cell): bundle for bundle in bundles(rows, key)}


def common(base: Matched, new: Matched) -> list[tuple[Bundle, Bundle]]:
    """The bundles of equal key, in the order of the base."""
    return [(bundle, new[key]) for key, bundle in base.items() if key in new]


def check_common(base: Work, new: Work) -> None:
    """Raise `UserError` where the runs have nothing in common; its sentence says in what the nearest cells differ."""
    if common(base.costs, new.costs) or common(base.trainings, new.trainings):
        return
    if _has_machines(base) != _has_machines(new):
        sides = [("the base", base.run), ("the new run", new.run)]
        (one, run), (other, several) = sides if _has_machines(new) else reversed(sides)
        parts = f"the runs that {other} was merged from" if several.environment.runs else "a run of one machine"
        label = run.environment.machine_label
        raise UserError(
            f"{NOTHING_IN_COMMON}: {one} is of one machine ({label}), and {other} of several: compare with {parts}"
        )
    for before, after in ((base.costs, new.costs), (base.trainings, new.trainings)):
        if before and after:
            raise UserError(f"{NOTHING_IN_COMMON}: the nearest configurations differ in {_difference(before, after)}")
    first, second = (_measured([*work.costs.values(), *work.trainings.values()]) for work in (base, new))
    raise UserError(f"{NOTHING_IN_COMMON}: the base measured {first}, and the new run {second}")


def _has_machines(work: Work) -> bool:
    """Whether a run is of several machines, so that each of its cells says which one it is of."""
    return any(row.cell.machine for row in work.run.measurements)


def _difference(base: Iterable[Key], new: Iterable[Key]) -> str:
    """The axes and values in which the two nearest keys differ, of the first `MOST_LOOKED_AT` of either run."""
    sides = (islice(keys, MOST_LOOKED_AT) for keys in (base, new))
    _, before, after = min(((len(set(a) ^ set(b)), a, b) for a, b in product(*sides)), key=itemgetter(0))
    values, others = dict(before), dict(after)
    axes = [axis for axis in {**values, **others} if values.get(axis) != others.get(axis)]
    named = [f"{axis_word(axis)} ({values.get(axis, 'none')}; {others.get(axis, 'none')})" for axis in axes]
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return ", ".join([*named[:MOST_NAMED], *more])


def _measured(found: Iterable[Bundle]) -> str:
    measures = {measure for bundle in found for row in bundle.rows for measure in row.cell.measure}
    return ", ".join(sorted(measures)) or "neither a cost nor a score"


def status_changes(base: Work, new: Work) -> tuple[StatusChange, ...]:
    """All cells whose statuses differ. A training whose rows are those of a cost is told once."""
    changes: dict[frozenset[str], StatusChange] = {}
    for kind in ("costs", "trainings"):
        for before, after in common(getattr(base, kind), getattr(new, kind)):
            words, ids = (status(before), status(after)), ids_of((before, after))
            if words[0] != words[1]:
                changes.setdefault(frozenset(ids), StatusChange(after.cell, ids, *words))
    return tuple(changes.values())


def alone(base: Work, new: Work) -> tuple[Alone, ...]:
    """All figures that one run alone has, those of the base first, and cells without any that the other lacks."""
    found = []
    sides: tuple[tuple[Side, Work, Work], ...] = (("base", base, new), ("new", new, base))
    for side, own, other in sides:
        for key, bundle in own.costs.items():
            match = other.costs.get(key)
            lacks = "" if match else _lacks(key, other.costs)
            found += _alone(side, bundle, match, _costs(bundle, match), lacks)
        for key, bundle in own.trainings.items():
            match = other.trainings.get(key)
            lacks = "" if match else _lacks(key, other.trainings)
            found += _alone(side, bundle, match, _scores(bundle, match), lacks)
    return tuple(found)


def _lacks(key: Key, other: Matched) -> str:
    """What a run has where it has no cell of that key."""
    return "has no such configuration" + (f": the nearest differs in {_difference([key], other)}" if other else "")


def _alone(side: Side, own: Bundle, other: Bundle | None, figures: Sequence[str], lacks: str) -> list[Alone]:
    if other and not figures:
        return []
    run = "the base" if side == "new" else "the new run"
    if other is None:
        why = f"{run} {lacks}"
    elif "score" in figures and on_other_data(own, other):
        why = f"{run} was trained on other data"
    elif status(other) != "ok":
        why = f"{run}: {status_and_reason(other)}"
    elif ("peak memory" in figures and other.peak) or ("instructions" in figures and _counted_by(other)):
        why = f"{run} measured it by another method"
    else:
        why = f"{run} did not measure it"
    return [Alone(own.cell, side, tuple(figures), why)]


def _costs(own: Bundle, other: Bundle | None) -> list[str]:
    found = ["time"] if own.samples and not (other and other.samples) else []
    if own.peak and not (other and other.peak and other.peak.kind == own.peak.kind):
        found.append("peak memory")
    if (counted := _counted_by(own)) and _counted_by(other) != counted:
        found.append("instructions")
    return found


def _counted_by(bundle: Bundle | None) -> set[str]:
    """The methods by which instructions were counted; empty where none were."""
    rows = bundle.sound if bundle else ()
    return {row.instructions.method for row in rows if row.instructions and row.instructions.instructions is not None}


def _scores(own: Bundle, other: Bundle | None) -> list[str]:
    lost = scores_of(own).keys() - (scores_of(other).keys() if other else set())
    return ["score"] if lost or (other and on_other_data(own, other)) else []
