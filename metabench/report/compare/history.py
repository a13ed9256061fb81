"""Many runs side by side: how the time of each configuration went from commit to commit, on each machine."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import pandas as pd

from metabench.errors import UserError
from metabench.grouping import grouped
from metabench.record.cell import Cell
from metabench.record.reading import MEASUREMENTS
from metabench.report.bundles import Bundle, Key, ids_of, order, status, time_key
from metabench.report.compare.tables import COST_AXES, OWN_COST_AXES, differing_axes
from metabench.report.marks import DISTURBED, MARKS
from metabench.report.noise import noise_floor
from metabench.report.numbers import NOTHING, Linked, exact, time_text
from metabench.report.provenance import measured_at, revision_commit, revision_name
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run, no_run_folder
from metabench.statistics.changepoints import change_points
from metabench.statistics.ratios import Interval

SLOWER, FASTER = " ▲", " ▼"
NOTE = (
    f"{SLOWER.strip()} from here on slower, {FASTER.strip()} from here on faster: a step that stayed (docs/method.md)."
)
NO_LINES = "No configuration was measured at two commits or more: there is no history yet."


@dataclass(frozen=True)
class Column:
    """One run."""

    label: str
    """The revision; with the run's name where several runs have the same."""
    revision: str
    run: str
    measured: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class CellHistory:
    """The cost of one cell over the columns of its machine, whatever was trained and evaluated around it."""

    ids: tuple[str, ...]
    """Ids of the cells of all columns."""
    cell: Cell
    """Cell of the first run: its axes that no cost depends on may differ in other columns."""
    times: tuple[Interval | None, ...]
    """A column each; seconds of a meta-iteration."""
    statuses: tuple[str, ...]
    """A column each; empty where the run does not have the cell."""
    steps: tuple[int, ...]
    """The columns with which a new level begins."""
    disturbed: frozenset[int] = frozenset()
    """The columns whose time other programs disturbed: they are of no level."""

    @property
    def id(self) -> str:
        """The id that names its line: the first of all columns'."""
        return self.ids[0]

    @property
    def levels(self) -> list[tuple[list[int], float]]:
        """The columns of each level that were timed and not disturbed, and its median in seconds."""
        edges = [0, *self.steps, len(self.times)]
        parts = [range(begin, end) for begin, end in pairwise(edges)]
        timed = [[i for i in part if self.times[i] is not None and i not in self.disturbed] for part in parts]
        return [(part, median(time.value for i in part if (time := self.times[i]))) for part in timed if part]

    @property
    def timed(self) -> list[tuple[int, Interval]]:
        """The columns that have a time, with it."""
        return [(i, time) for i, time in enumerate(self.times) if time]

    def factor(self, step: int) -> float:
        """How many times as long as before a meta-iteration takes from that column on: the ratio of both levels."""
        before, after = (self.levels[self.steps.index(step) + side][1] for side in (0, 1))
        return after / before

    def mark(self, step: int) -> str:
        """Whether the level that begins with that column is the slower or the faster one."""
        return SLOWER if self.factor(step) > 1 else FASTER

    def text(self, column: int) -> str:
        """The time of a column that has one, with its interval, and whether it is disturbed."""
        time = self.times[column]
        return time_text(time) + self.doubt(column) if time else ""

    def doubt(self, *columns: int) -> str:
        """The mark of a figure that stands on these columns, where the time of one is disturbed."""
        return DISTURBED if self.disturbed.intersection(columns) else ""

    @property
    def largest(self) -> float:
        """The logarithm of the largest step, up or down; 0 where there is none."""
        return max((abs(math.log(self.factor(step))) for step in self.steps), default=0.0)


@dataclass(frozen=True)
class MachineHistory:
    """All runs of one machine: those of different machines are never put into one line."""

    machine: str
    columns: tuple[Column, ...]
    lines: tuple[CellHistory, ...]
    """The configurations that were timed at two revisions or more, those with change points first."""
    single: int = 0
    """How many more were timed at one revision alone: they have no history yet."""

    @property
    def left_out(self) -> str:
        """A sentence on the configurations that are not shown; empty where there are none."""
        if not self.single:
            return ""
        are = "configuration was" if self.single == 1 else "configurations were"
        return f"{self.single} {'more ' if self.lines else ''}{are} measured at a single commit: not shown."


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run folders among `paths` and in them, at any depth. Raises `UserError` where there is none."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise no_run_folder(path)
        inside = sorted(file.parent for file in path.rglob(MEASUREMENTS))
        if not inside:
            raise UserError(f"there is no run in '{path}': a run folder has a {MEASUREMENTS}")
        found |= dict.fromkeys(inside)
    return list(found)


def histories(runs: Iterable[Run], dates: Mapping[str, str]) -> list[MachineHistory]:
    """The history on each machine. `dates` are of commits: where all are known they order the runs, else the runs' own
    do; runs of one commit follow each other as they were measured. Runs without any time are left out.

    Raises `UserError` where no run has any.
    """
    timed = [run for run in runs if any(row.time for row in run.measurements)]
    by_machine = grouped(timed, lambda run: run.environment.machine_name)
    if not by_machine:
        raise UserError("no time was measured in any of these runs: there is no history to tell")
    return [_history(machine, runs, dates) for machine, runs in sorted(by_machine.items())]


def _history(machine: str, runs: list[Run], dates: Mapping[str, str]) -> MachineHistory:
    known = all(revision_commit(run) in dates for run in runs)
    runs.sort(key=lambda run: (dates[revision_commit(run) or ""] if known else "", measured_at(run), run.name))
    costs = [{time_key(bundle.cell): bundle for bundle in run.timed if bundle.asked_for("time")} for run in runs]
    revisions: dict[Key, set[str]] = {}
    for run, found in zip(runs, costs, strict=True):
        for key, bundle in found.items():
            revisions.setdefault(key, set()).update([revision_name(run)] if bundle.step else [])
    keys = [key for key, names in revisions.items() if len(names) > 1]
    shown = [(run, found) for run, found in zip(runs, costs, strict=True) if not found.keys().isdisjoint(keys)]
    floors = [math.log(noise.ratio) for run, _ in shown if (noise := noise_floor(run.noise_rows))]
    floor = median(floors) if floors else 0.0
    lines = [_line([found.get(key) for _, found in shown], floor) for key in keys]
    lines.sort(key=lambda line: (-line.largest, order(line.cell)))
    single = sum(len(names) == 1 for names in revisions.values())
    return MachineHistory(machine, _columns([run for run, _ in shown]), tuple(lines), single)


def _columns(runs: Sequence[Run]) -> tuple[Column, ...]:
    names = [revision_name(run) for run in runs]
    return tuple(
        Column(name if names.count(name) == 1 else f"{name} ({run.name})", name, run.name, measured_at(run))
        for name, run in zip(names, runs, strict=True)
    )


def _line(found: Sequence[Bundle | None], floor: float) -> CellHistory:
    cell = next(bundle.cell for bundle in found if bundle)
    times = tuple(bundle.step if bundle else None for bundle in found)
    disturbed = frozenset(i for i, bundle in enumerate(found) if bundle and bundle.step and bundle.disturbed)
    timed = [(i, time) for i, time in enumerate(times) if time and i not in disturbed]
    logs = [math.log(time.value) for _, time in timed]
    halves = [math.log(time.drawn.high / time.drawn.low) / 2 for _, time in timed]
    steps = tuple(timed[i][0] for i in change_points(logs, halves, floor))
    statuses = tuple(status(bundle) if bundle else "" for bundle in found)
    return CellHistory(ids_of(found), cell, times, statuses, steps, disturbed)


def history_table(found: MachineHistory) -> Table:
    """A row a configuration, a column a run."""
    labels, common = labels_of(found)
    body = tuple((*label, *_texts(line)) for label, line in zip(labels, found.lines, strict=True))
    columns = ("implementation", "setting", *(column.label for column in found.columns))
    says = f"Time of a meta-iteration, with its 95 % interval, by revision{common}." if found.lines else NO_LINES
    notes = tuple(filter(None, (NOTE if found.lines else "", *_notes(found))))
    return Table(f"History on {found.machine}", says, columns, body, notes, tuple(line.ids for line in found.lines))


def changes_table(found: MachineHistory) -> Table:
    """A row a configuration: its first and its last time, and where it changed for good. Each leads to its chart."""
    labels, common = labels_of(found)
    body = tuple(
        (
            Linked(implementation, f"#{chart_name(line)}"),
            where,
            line.text(line.timed[0][0]),
            line.text(line.timed[-1][0]),
            exact(line.timed[-1][1].value / line.timed[0][1].value) + line.doubt(line.timed[0][0], line.timed[-1][0]),
            ", ".join(_step_text(found, line, step) for step in line.steps) or NOTHING,
        )
        for (implementation, where), line in zip(labels, found.lines, strict=True)
    )
    says = (
        f"Time of a meta-iteration at the first and at the last commit that measured it, with 95 % intervals{common}. "
        f"From a change point on the time stays at another level: {SLOWER.strip()} slower, {FASTER.strip()} faster, "
        "× the ratio of the levels."
    )
    columns = ("implementation", "setting", "first", "last", "last ÷ first", "change points")
    return Table(f"History on {found.machine}", says if found.lines else NO_LINES, columns, body, _notes(found))


def _notes(found: MachineHistory) -> tuple[str, ...]:
    disturbed = any(line.disturbed for line in found.lines)
    return tuple(filter(None, (MARKS[DISTURBED] if disturbed else "", found.left_out)))


def chart_name(line: CellHistory) -> str:
    """The name of a configuration's chart on the page."""
    return f"chart-{line.id}"


def labels_of(found: MachineHistory) -> tuple[list[tuple[str, str]], str]:
    """Implementation and setting of each line, and what all settings share, as the end of a sentence.

    An axis that another version of metabench has is said where it alone tells two lines apart.
    """
    cells = [line.cell for line in found.lines]
    if not cells:
        return [], ""
    others = dict.fromkeys(axis for cell in cells for axis in cell.others)
    axes, fixed = differing_axes(cells, (*OWN_COST_AXES, *others))
    common = setting(cells[0], fixed, {})
    labels = [(cell.implementation, setting(cell, axes, {}) or NOTHING) for cell in cells]
    return labels, f" ({common})" if common else ""


def _step_text(found: MachineHistory, line: CellHistory, step: int) -> str:
    return f"{line.mark(step).strip()} × {exact(line.factor(step))} from {found.columns[step].label}"


def _texts(line: CellHistory) -> list[str]:
    return [
        line.text(i) + (line.mark(i) if i in line.steps else "") if time else line.statuses[i]
        for i, time in enumerate(line.times)
    ]


def history_frame(found: Sequence[MachineHistory]) -> pd.DataFrame:
    """One row a cell and run: times in seconds, whether a new level begins, and whether the time was disturbed."""
    axes = [axis for axis in ("algorithm", "engine", *COST_AXES) if axis != "machine"]
    times = {f"step_{part}_s": part for part in ("value", "low", "high")}
    columns = ("machine", "id", *axes, "revision", "run", "measured", "status", *times, "change_point", "disturbed")
    records = [
        {
            "machine": line.cell.machine or history.machine,
            "id": line.id,
            **{axis: line.cell[axis] for axis in axes},
            "revision": column.label,
            "run": column.run,
            "measured": column.measured,
            "status": line.statuses[i],
            **{name: getattr(line.times[i], part, None) for name, part in times.items()},
            "change_point": i in line.steps,
            "disturbed": i in line.disturbed,
        }
        for history in found
        for line in history.lines
        for i, column in enumerate(history.columns)
        if line.statuses[i]
    ]
    return pd.DataFrame(records, columns=list(columns))
