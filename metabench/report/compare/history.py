"""Many runs side by side: how the time of each cell went from revision to revision, on each machine."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import pandas as pd

from metabench.errors import UserError
from metabench.record.cell import Cell
from metabench.record.reading import MEASUREMENTS
from metabench.report.bundles import Bundle, ids_of, order, status, time_key
from metabench.report.compare.tables import COST_AXES, differing_axes
from metabench.report.noise import noise_floor
from metabench.report.numbers import NOTHING, time_text
from metabench.report.provenance import measured_at, revision_commit, revision_name
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run, no_run_folder
from metabench.statistics.changepoints import change_points
from metabench.statistics.ratios import Interval

SLOWER, FASTER = " ▲", " ▼"
NOTE = (
    f"{SLOWER.strip()} from here on slower, {FASTER.strip()} from here on faster: a step that stayed (docs/method.md)."
)


@dataclass(frozen=True)
class Column:
    """One run."""

    label: str
    """The revision; with the run's name where several runs have the same."""
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

    @property
    def id(self) -> str:
        """The id that names its line: the first of all columns'."""
        return self.ids[0]

    @property
    def levels(self) -> list[tuple[list[int], float]]:
        """The columns of each level that were timed, and its median in seconds."""
        edges = [0, *self.steps, len(self.times)]
        parts = [range(begin, end) for begin, end in pairwise(edges)]
        timed = [[i for i in part if self.times[i] is not None] for part in parts]
        return [(part, median(time.value for i in part if (time := self.times[i]))) for part in timed if part]

    def goes_up(self, step: int) -> bool:
        """Whether the level that begins with that column is the slower one."""
        before, after = (self.levels[self.steps.index(step) + side][1] for side in (0, 1))
        return after > before


@dataclass(frozen=True)
class MachineHistory:
    """All runs of one machine: those of different machines are never put into one line."""

    machine: str
    columns: tuple[Column, ...]
    lines: tuple[CellHistory, ...]


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
    by_machine: dict[str, list[Run]] = {}
    for run in runs:
        if any(row.time for row in run.measurements):
            by_machine.setdefault(run.environment.machine_name, []).append(run)
    if not by_machine:
        raise UserError("no time was measured in any of these runs: there is no history to tell")
    return [_history(machine, runs, dates) for machine, runs in sorted(by_machine.items())]


def _history(machine: str, runs: list[Run], dates: Mapping[str, str]) -> MachineHistory:
    known = all(revision_commit(run) in dates for run in runs)
    runs.sort(key=lambda run: (dates[revision_commit(run) or ""] if known else "", measured_at(run), run.name))
    names = [revision_name(run) for run in runs]
    columns = tuple(
        Column(name if names.count(name) == 1 else f"{name} ({run.name})", run.name, measured_at(run))
        for name, run in zip(names, runs, strict=True)
    )
    floors = [math.log(found.ratio) for run in runs if (found := noise_floor(run.noise_rows))]
    floor = median(floors) if floors else 0.0
    costs = [{time_key(bundle.cell): bundle for bundle in run.timed if bundle.asked_for("time")} for run in runs]
    keys = dict.fromkeys(key for found in costs for key in found)
    lines = [_line([found.get(key) for found in costs], floor) for key in keys]
    return MachineHistory(machine, columns, tuple(sorted(lines, key=lambda line: order(line.cell))))


def _line(found: Sequence[Bundle | None], floor: float) -> CellHistory:
    cell = next(bundle.cell for bundle in found if bundle)
    times = tuple(bundle.step if bundle else None for bundle in found)
    timed = [(i, time) for i, time in enumerate(times) if time]
    logs = [math.log(time.value) for _, time in timed]
    halves = [math.log(time.drawn.high / time.drawn.low) / 2 for _, time in timed]
    steps = tuple(timed[i][0] for i in change_points(logs, halves, floor))
    statuses = tuple(status(bundle) if bundle else "" for bundle in found)
    return CellHistory(ids_of(found), cell, times, statuses, steps)


def history_table(found: MachineHistory) -> Table:
    """A row a cell, a column a revision."""
    cells = [line.cell for line in found.lines]
    axes, fixed = differing_axes(cells)
    body = tuple(
        (line.cell.implementation, setting(line.cell, axes, {}) or NOTHING, *_texts(line)) for line in found.lines
    )
    columns = ("implementation", "setting", *(column.label for column in found.columns))
    says = f"Time of a meta-iteration, with its 95 % interval, by revision: {setting(cells[0], fixed, {})}."
    return Table(f"History on {found.machine}", says, columns, body, (NOTE,), tuple(line.ids for line in found.lines))


def _texts(line: CellHistory) -> list[str]:
    marks = {step: SLOWER if line.goes_up(step) else FASTER for step in line.steps}
    return [time_text(time) + marks.get(i, "") if time else line.statuses[i] for i, time in enumerate(line.times)]


def history_frame(found: Sequence[MachineHistory]) -> pd.DataFrame:
    """One row a cell and run: times in seconds, and whether a new level begins."""
    records = [
        {
            "machine": history.machine,
            "id": line.id,
            **{axis: line.cell[axis] for axis in ("algorithm", "engine", *COST_AXES)},
            "revision": column.label,
            "run": column.run,
            "measured": column.measured,
            "status": line.statuses[i],
            **{f"step_{part}_s": getattr(line.times[i], part, None) for part in ("value", "low", "high")},
            "change_point": i in line.steps,
        }
        for history in found
        for line in history.lines
        for i, column in enumerate(history.columns)
        if line.statuses[i]
    ]
    return pd.DataFrame(records)
