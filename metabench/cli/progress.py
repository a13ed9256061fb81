"""How what takes long shows itself: a sweep by what runs, what is left and what is fastest on a terminal, and by plain
lines elsewhere; checks by a table that grows."""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.report.numbers import duration_text
from metabench.text import printable

BAR = 24  # characters
PER_SECOND = 2  # often enough to be seen alive, seldom enough to be calm


class Pace:
    """How much is done, and how long the rest takes at the pace of what was measured since the start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.begin(0, 0)

    def begin(self, total: int, done: int) -> None:
        self.total, self.before, self.done = total, done, done
        self.started = self.last = self.clock()

    def finish(self) -> None:
        self.done += 1
        self.last = self.clock()

    @property
    def left(self) -> str:
        """In words; empty where there is nothing left, or nothing to tell it by."""
        measured, left = self.done - self.before, self.total - self.done
        if not measured or left <= 0:
            return ""
        seconds = (self.last - self.started) / measured * left - (self.clock() - self.last)
        minutes = round(seconds / 60)
        if minutes < 1:
            return "less than a minute left"
        hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
        return f"about {hours} left"


class Leaders:
    """Which implementation is the fastest in a setting so far, by the median over its processes."""

    def __init__(self) -> None:
        self.times: dict[tuple[Any, ...], dict[str, list[float]]] = {}

    def add(self, cell: Cell, seconds: float) -> None:
        self.times.setdefault(cell.setting, {}).setdefault(cell.implementation, []).append(seconds)

    def fastest(self, cell: Cell) -> str:
        """In the setting of that cell, in words; empty where nothing was timed in it."""
        found = {name: median(times) for name, times in self.times.get(cell.setting, {}).items()}
        if not found:
            return ""
        name = min(found, key=lambda name: found[name])
        return f"{name} {duration_text(found[name])}" + (f", of {len(found)}" if len(found) > 1 else "")


class ConsoleProgress:
    """Writes to standard error, so that tables on standard output can be piped."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.clock = clock
        self.pace = Pace(clock)
        self.leaders = Leaders()
        self.running: dict[str, tuple[Cell, float]] = {}
        """By id, with the time at which it began."""
        self.live = Live(console=self.console, get_renderable=self.shown, refresh_per_second=PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def begin(self, total: int, done: int) -> None:
        self.pace.begin(total, done)
        if done:
            self._line(f"resuming: {done} of {total} measurements are there already")

    def cell(self, cell: Cell) -> None:
        self.running[cell.id] = (cell, self.clock())

    def finished(self, measurement: Measurement) -> None:
        self.pace.finish()
        cell = measurement.cell
        self.running.pop(measurement.id, None)
        if measurement.time and not measurement.noise:
            self.leaders.add(cell, measurement.time.step.median)
        # What came of it first: of what follows a narrow terminal cuts something off.
        outcome = _figures(measurement) if measurement.status == "ok" else measurement.status
        name, _, where = cell.describe().partition(" ")
        name += " (noise cell)" if measurement.noise else ""
        took = f"{measurement.seconds:.1f} s"
        if self.pace.left and not self.console.is_terminal:
            took += f"; {self.pace.left}"
        why = f": {measurement.reason}" if measurement.reason else ""
        self._line(f"[{self.pace.done}/{self.pace.total}] {name}: {outcome} ({took}), {where}{why}")
        for sentence in measurement.warnings:
            self.warn(sentence)

    def warn(self, sentence: str) -> None:
        self._line(f"warning: {sentence}", whole=True)

    def shown(self) -> Group:
        """What stands below the lines on a terminal: what is left, what runs, the fastest in its setting."""
        pace = self.pace
        if not pace.total:
            return Group()
        full = BAR * pace.done // pace.total
        on, off = ("#", ".") if self.console.options.ascii_only else ("━", "─")
        lines = [f"{on * full}{off * (BAR - full)} {pace.done} of {pace.total}{', ' if pace.left else ''}{pace.left}"]
        running = list(self.running.values())
        if running:
            cell, began = running[0]
            more = f", with {len(running) - 1} more" if len(running) > 1 else ""
            lines.append(f"now ({self.clock() - began:.0f} s){more}: {cell.describe()}")
            if fastest := self.leaders.fastest(cell):
                lines.append(f"fastest here so far: {fastest}")
        return Group(*(Text(printable(line), no_wrap=True, overflow="ellipsis") for line in lines))

    def _line(self, text: str, whole: bool = False) -> None:
        # Never interpreted: reasons may hold square brackets, or steer a terminal. On a terminal a line is cut at its
        # edge (the tables have the whole reason), but a warning is told whole.
        text = printable(text)
        if self.console.is_terminal:
            self.console.print(Text(text), no_wrap=not whole, overflow="fold" if whole else "ellipsis")
        else:
            print(text, file=sys.stderr, flush=True)


def _figures(measurement: Measurement) -> str:
    parts = []
    if measurement.time:
        parts.append(f"{duration_text(measurement.time.step.median)} a step")
    if measurement.quality:
        parts.append(f"{measurement.quality.metric} {measurement.quality.value:.3f}")
    return ", ".join(parts) or "ok"


class GrowingTable:
    """Row by row: what is being done, and beside it, when that is done, what came of it."""

    def __init__(self, columns: Sequence[str], widths: Sequence[int], aside: bool = False) -> None:
        """Prints the head. The last column takes as much as it needs. `aside`: to standard error."""
        self.file = sys.stderr if aside else sys.stdout
        self.rows: list[tuple[str, ...]] = []
        """What was shown, but for the head."""
        self.row: tuple[str, ...] = ()
        self.widths = [max(len(column), width) for column, width in zip(columns, widths, strict=False)]
        self.at = 0
        self.end(*columns)
        self.end(*("-" * width for width in self.widths), "-" * len(columns[-1]))
        self.rows.clear()

    def begin(self, *cells: str) -> None:
        """The first cells of a row."""
        self.started = time.perf_counter()
        self._put(cells)

    def end(self, *cells: str) -> None:
        """The others."""
        self._put(cells)
        print(file=self.file, flush=True)
        self.rows.append(self.row)
        self.at, self.row = 0, ()

    @property
    def seconds(self) -> float:
        """Since the row began."""
        return time.perf_counter() - self.started

    def _put(self, cells: Sequence[str]) -> None:
        self.row = (*self.row, *cells)
        for cell in cells:
            width = self.widths[self.at] if self.at < len(self.widths) else 0
            print("  " * (self.at > 0) + cell.ljust(width), end="", file=self.file, flush=True)
            self.at += 1
