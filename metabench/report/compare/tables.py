"""A comparison of two runs for readers: tables, and JSON for programs."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from metabench.record.cell import AXES, Cell, axes_of, varying
from metabench.report.axes import MACHINE, OWN_AXES, SIZES, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import telling_apart
from metabench.report.compare.matching import Alone, StatusChange
from metabench.report.compare.runs import SAME_COUNT, Comparison, QualityChange
from metabench.report.compare.thresholds import Failure
from metabench.report.compare.times import FEW_BEYOND, SAME, TimeChange, too_few_rounds
from metabench.report.document import Document
from metabench.report.marks import DISTURBED, MARKS
from metabench.report.numbers import (
    NOTHING,
    Valued,
    bytes_text,
    exact,
    signed_quality_text,
    time_text,
    with_interval,
)
from metabench.report.provenance import revision_name
from metabench.report.render.tables import Section, Table, setting
from metabench.report.sections.device import instructions_text
from metabench.statistics.means import FEWEST
from metabench.statistics.ranks import LEVEL

HOW_TO_READ = (
    "A time is the geometric mean over repetitions, each of which is the median of a process's fastest tenth of",
    "samples (so that it is below the time in the tables of a run, which are of all samples). A ratio is the new run's",
    "time by the base's. 95 % intervals stand in square brackets, and none is narrower than the noise floor. *slower*",
    "and *faster* need a difference that is significant over repetitions after correction for the number of",
    f"configurations, and an interval without 1; *the same* needs an interval within {100 * (SAME - 1):.0f} % either",
    "way; all else is *cannot tell*.",
    f"Tracked memory is exact: any change is one. Instructions are the same within {100 * SAME_COUNT:g} %.",
)
SHOWN_AXES = in_title_order((*TASK, *SIZES, *TECHNIQUES, *MACHINE))
OWN_COST_AXES = tuple(axis for axis in OWN_AXES if AXES[axis].cost)
COST_AXES = (*SHOWN_AXES, *OWN_COST_AXES)
"""The axes that a cost depends on, beside the implementation."""
SHAPE = frozenset({"ways", "shots"})
FIRST_VERDICTS = ("slower", "worse", "more", "faster", "better", "less", "cannot tell", "the same")


def cell_text(cell: Cell, axes: Iterable[str] = COST_AXES, data: Mapping[str, str] | None = None) -> str:
    """A cell in one phrase."""
    return f"{cell.implementation}, {setting(cell, axes, data or {})}"


def comparison_document(found: Comparison, failed: Sequence[Failure] = ()) -> Document:
    """All tables of a comparison, first the one that says why it fails."""
    cells = [change.cell for change in found.cells]
    axes, fixed = differing_axes(cells)
    data = found.base.data_names | found.new.data_names
    common = setting(cells[0], fixed, data) if cells else ""
    sections = (
        _section("Threshold", _failures(failed, data)),
        _section("Time", _times(found, f"Time, geometric mean over repetitions: {common}", axes, data)),
        _section("Geometric means", _groups(found)),
        _section("Memory", _memory(found, axes, data)),
        _section("Instructions", _instructions(found, axes, data)),
        _section("Quality", _quality(found.quality, data)),
        _section("Statuses that differ", _statuses(found.statuses, data)),
        _section("Figures of one run alone", _alone(found.alone, data)),
    )
    title = f"{revision_name(found.new)} against {revision_name(found.base)}"
    shown = tuple(section for section in sections if section.tables[0].rows)
    return Document(title, _facts(found), found.warnings, shown, HOW_TO_READ)


def _section(title: str, table: Table) -> Section:
    return Section(title, (table,))


def _facts(found: Comparison) -> tuple[tuple[str, str], ...]:
    verdicts: Counter[str] = Counter(change.time.verdict for change in found.cells if change.time)
    counts = ", ".join(f"{verdicts[word]} {word}" for word in FIRST_VERDICTS if verdicts[word])
    floor = "not measured"
    if found.floor:
        floor = f"{found.floor.ratio:.3f} from one process to the next ({found.floor.pairs} pairs)"
    how = "in pairs, one right after the other" if found.paired else "apart: a change of the machine is in the ratios"
    machines = dict.fromkeys(run.environment.machine_name for run in (found.base, found.new))
    facts = {
        "base": f"{revision_name(found.base)} ({found.base.name})",
        "new": f"{revision_name(found.new)} ({found.new.name})",
        "machine": "; ".join(machines),
        "measured": how,
        "noise floor": floor,
        "times": counts or "none",
        "peak memory": _memory_text(found),
        **({"instructions": counted} if (counted := _counted_text(found)) else {}),
    }
    return tuple(facts.items())


def _memory_text(found: Comparison) -> str:
    weighed = [change.memory for change in found.cells if change.memory]
    changed = sum(memory.verdict != "the same" for memory in weighed)
    if not weighed:
        return "not measured in both"
    return f"{changed} of {len(weighed)} configurations changed, the others by not a byte"


def _counted_text(found: Comparison) -> str:
    counted = [change.instructions for change in found.cells if change.instructions]
    changed = sum(one.verdict != "the same" for one in counted)
    return f"{changed} of {len(counted)} configurations changed by more than {100 * SAME_COUNT:g} %" if counted else ""


def _failures(failed: Sequence[Failure], data: Mapping[str, str]) -> Table:
    body = tuple((cell_text(failure.cell, data=data), failure.reason) for failure in failed)
    return Table("Above the threshold", "Every configuration that is, and by what.", ("configuration", "why"), body)


def _groups(found: Comparison) -> Table:
    body = tuple(
        (
            f"{group.kind} {group.name}",
            with_interval(group.interval) if group.interval else exact(group.value) + " (too few repetitions)",
            str(group.cells),
            str(group.rounds),
        )
        for group in found.groups
    )
    formed = ", formed within each repetition" if found.paired else ""
    over = "over the repetitions that have all of them"
    says = f"Geometric mean of the ratios of times of all configurations{formed}, {over}."
    columns = ("group", "ratio", "configurations", "repetitions")
    return Table("Geometric means of the ratios of times", says, columns, body)


def _times(found: Comparison, title: str, axes: Sequence[str], data: Mapping[str, str]) -> Table:
    timed = [(change, change.time) for change in found.cells if change.time]
    timed.sort(key=lambda line: FIRST_VERDICTS.index(line[1].verdict))
    body = tuple(
        (
            *_labels(change.cell, axes, data),
            *(
                time_text(figure) + (DISTURBED if disturbed else "")
                for figure, disturbed in zip((time.base, time.new), change.disturbed, strict=True)
            ),
            with_interval(time.ratio),
            NOTHING if time.p is None else Valued(f"{time.p:.2g}", time.p),
            str(time.rounds),
            time.verdict,
        )
        for change, time in timed
    )
    columns = ("implementation", "setting", "base", "new", "ratio", "p", "repetitions", "verdict")
    says = (
        "Time of a meta-iteration: the geometric mean over repetitions of the median of each process's fastest tenth; "
        f"the ratio is new by base. p is corrected for the number of configurations, and decides at {100 * LEVEL:g} %."
    )
    notes = _time_notes([time for _, time in timed], found)
    if any(any(change.disturbed) for change, _ in timed):
        notes.append(MARKS[DISTURBED])
    return Table(title, says, columns, body, tuple(notes), tuple(change.ids for change, _ in timed))


def _time_notes(times: Sequence[TimeChange], found: Comparison) -> list[str]:
    """What could not be called, whatever it was, and how many rounds it takes."""
    few = sorted({time.rounds for time in times if time.test != "ranks"})
    if not few:
        return []
    tested = sum(time.test is not None for time in times)
    floor = "" if found.floor else f" Without a noise floor that is a factor of {FEW_BEYOND:g}."
    sentences = [too_few_rounds(rounds, max(1, tested), found.paired) for rounds in few]
    return [f"{sentence}.{floor if rounds >= FEWEST else ''}" for rounds, sentence in zip(few, sentences, strict=True)]


def differing_axes(cells: Sequence[Cell], own: Sequence[str] = OWN_COST_AXES) -> tuple[list[str], list[str]]:
    """The axes on which cells differ, and those on which they agree; the shape of a task is told whole.

    Each algorithm has its `own` axes: they are told only where nothing else tells two cells apart.
    """
    found = varying(cells, SHOWN_AXES)
    differing = [axis for axis in SHOWN_AXES if axis in found or (axis in SHAPE and not SHAPE.isdisjoint(found))]
    alone = telling_apart(cells, (*axes_of("implementation"), *SHOWN_AXES), own)
    return [*differing, *alone], [axis for axis in SHOWN_AXES if axis not in differing]


def _labels(cell: Cell, axes: Sequence[str], data: Mapping[str, str]) -> tuple[str, str]:
    return cell.implementation, setting(cell, axes, data) or NOTHING


def _memory(found: Comparison, axes: Sequence[str], data: Mapping[str, str]) -> Table:
    weighed = [(change, change.memory) for change in found.cells if change.memory]
    changed = [(change, memory) for change, memory in weighed if memory.verdict != "the same"]
    body = tuple(
        (
            *_labels(change.cell, axes, data),
            bytes_text(memory.base),
            bytes_text(memory.new),
            Valued(f"{memory.new - memory.base:+d} B", memory.new - memory.base),
            Valued(f"{memory.new / memory.base:.4g}", memory.new / memory.base) if memory.base else NOTHING,
            memory.verdict,
        )
        for change, memory in changed
    )
    says = f"Peak memory of a meta-iteration: {_memory_text(found)}."
    columns = ("implementation", "setting", "base", "new", "change", "ratio", "verdict")
    return Table("Memory", says, columns, body, cells=tuple(change.ids for change, _ in changed))


def _instructions(found: Comparison, axes: Sequence[str], data: Mapping[str, str]) -> Table:
    counted = [(change, change.instructions) for change in found.cells if change.instructions]
    counted.sort(key=lambda pair: pair[1].verdict == "the same")  # what has changed comes first
    body = tuple(
        (
            *_labels(change.cell, axes, data),
            instructions_text(one.base),
            instructions_text(one.new),
            Valued(f"{one.new / one.base:.4f}", one.new / one.base),
            one.verdict,
        )
        for change, one in counted
    )
    says = f"Instructions of a meta-iteration, {'; '.join(dict.fromkeys(one.method for _, one in counted))}."
    columns = ("implementation", "setting", "base", "new", "ratio", "verdict")
    return Table("Instructions", says, columns, body, cells=tuple(change.ids for change, _ in counted))


def _quality(changes: Sequence[QualityChange], data: Mapping[str, str]) -> Table:
    axes, _ = differing_axes([change.cell for change in changes], OWN_AXES)
    ordered = sorted(changes, key=lambda change: FIRST_VERDICTS.index(change.verdict))
    body = tuple(
        (
            *_labels(change.cell, axes, data),
            change.metric,
            _gain(change),
            Valued(f"{change.p:.2g}", change.p),
            str(change.seeds),
            change.verdict,
        )
        for change in ordered
    )
    says = "New minus base, over the training seeds of both; accuracy in percentage points. 0: equal to the last bit."
    return Table("Quality", says, ("implementation", "setting", "metric", "difference", "p", "seeds", "verdict"), body)


def _gain(change: QualityChange) -> str:
    return "0" if change.verdict == "the same" else signed_quality_text(change.difference, change.metric)


def _statuses(changes: Sequence[StatusChange], data: Mapping[str, str]) -> Table:
    body = tuple((cell_text(change.cell, data=data), change.base, change.new) for change in changes)
    ids = tuple(change.ids for change in changes)
    return Table("Statuses that differ", "Findings in themselves.", ("configuration", "base", "new"), body, cells=ids)


def _alone(found: Sequence[Alone], data: Mapping[str, str]) -> Table:
    body = tuple(
        (cell_text(one.cell, data=data), " and ".join(one.figures) or NOTHING, one.side, one.why) for one in found
    )
    columns = ("configuration", "figures", "run", "why")
    return Table("Figures of one run alone", "They cannot be compared.", columns, body)


def comparison_json(found: Comparison, failed: Sequence[Failure]) -> dict[str, Any]:
    """All that the tables show, with every digit; null is the end of an interval that is not known."""
    names = {
        side: {"run": run.name, "revision": revision_name(run), "machine": run.environment.machine_name}
        for side, run in (("base", found.base), ("new", found.new))
    }
    return {
        **names,
        "paired": found.paired,
        "same_machine": found.same_machine,
        "warnings": list(found.warnings),
        "noise_floor": asdict(found.floor) if found.floor else None,
        "cells": [_finite(asdict(change)) for change in found.cells],
        "quality": [asdict(change) for change in found.quality],
        "groups": [asdict(group) for group in found.groups],
        "statuses": [asdict(change) for change in found.statuses],
        "alone": [asdict(one) for one in found.alone],
        "failures": [asdict(failure) for failure in failed],
    }


def _finite(found: Any) -> Any:
    """What JSON has: infinity becomes null, at any depth."""
    if isinstance(found, dict):
        return {name: _finite(part) for name, part in found.items()}
    return None if isinstance(found, float) and not math.isfinite(found) else found
