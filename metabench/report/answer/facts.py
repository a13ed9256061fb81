"""How much was measured and how long it took, how far measurements differ, and what failed."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from metabench.grouping import grouped
from metabench.record.measurement import HAPPENED, STATUSES, Measurement
from metabench.report.noise import two_differ_by
from metabench.report.numbers import Valued
from metabench.report.render.tables import Table, setting
from metabench.report.results import Run
from metabench.text import counted

WHERE = ("model", "inner_steps", "meta_batch")
NOT_RUN = {"unsupported", "skipped"}
"""What is no failure of a measurement."""
LONGEST_REASON = 100


def ran(run: Run) -> str:
    """How much was measured, how long it took, and what became of it."""
    rows = run.measurements
    if not rows:
        return "nothing was measured"
    cells = grouped(rows, lambda row: row.id)
    ended = {name: {row.status for row in same} - {"ok"} for name, same in cells.items()}
    not_run = sum(bool(found) and found <= NOT_RUN for found in ended.values())
    failed = sum(bool(found) for found in ended.values()) - not_run
    times = {len({row.round for row in same}) for same in cells.values()}
    most = max(times, default=0)
    how = f" × {counted(most, 'repetition')}" if len(times) == 1 else f", up to {counted(most, 'repetition')} each"
    parts = [counted(len(cells), "configuration") + (how if most > 1 else "")]
    if seconds := seconds_of((*rows, *run.noise_rows)):
        parts.append(duration(seconds))
    parts += [f"{counted(failed, 'configuration')} failed"] if failed else []
    parts += [f"{counted(not_run, 'configuration')} could not be run"] if not_run else []
    parts += [] if failed or not_run else ["all ok"]
    return ", ".join(parts)


def seconds_of(rows: Sequence[Measurement]) -> float:
    """The seconds in which anything was measured: pauses do not count, and what ran side by side counts once."""
    spans = sorted((began, began + row.seconds) for row in rows if row.seconds and (began := _began(row)) is not None)
    total, until = 0.0, -math.inf
    for began, ended in spans:
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def _began(row: Measurement) -> float | None:
    try:
        return datetime.fromisoformat(row.started).timestamp()
    except (ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """A duration as a person says it: `8 s`, `13 min 46 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def noise(run: Run, tables: Sequence[Table]) -> str:
    """How far two measurements of one configuration differ, and what that hides; empty where no time was measured."""
    times = [row.time for row in run.measurements if row.time]
    if not times:
        return ""
    said = ["Run-to-run noise was not measured: no interval includes it."]
    if run.noise:
        said = [f"Two measurements of one configuration differ by up to {two_differ_by(run.noise)}."]
    figures = [text for table in tables for row in table.rows for text in row if isinstance(text, Valued)]
    if doubted := sum(bool(text.doubt) for text in figures):
        said.append(f"Noise or drift hides what {counted(doubted, 'figure')} would say.")
    if disturbed := sum(bool(time.disturbed) for time in times):
        said.append(f"Other programs disturbed {counted(disturbed, 'time')}: close them, and run again.")
    return " ".join(said)


def failures(run: Run) -> Iterator[str]:
    """A sentence for each kind of failure, with the reason of the first, and how many have another."""
    bad = [row for row in run.measurements if row.status != "ok"]
    kinds = grouped(bad, lambda row: row.status)
    for status in sorted(kinds, key=STATUSES.index):
        rows = kinds[status]
        first, number = rows[0], len({row.id for row in rows})
        name = f"{first.cell.implementation}, {setting(first.cell, WHERE, run.data_names)}"
        reason = f": {_shortened(first.reason)}" if first.reason else ""
        which = "the first is " if number > 1 else ""
        said = f"{counted(number, 'configuration')} {HAPPENED[status]} ({which}{name}){reason}".rstrip(".")
        others = len({row.id for row in rows} - {row.id for row in rows if row.reason == first.reason})
        yield f"{said}; {others} for another reason." if others else f"{said}."


def _shortened(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1].rstrip() + "…"
