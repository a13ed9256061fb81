"""The progress of long commands.

A sweep has a line for each measurement; below them a terminal shows what runs, what is left and what is fastest. A
verification has a table that grows.
"""

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
    """How much is done, and the time that is left, from the mean time of the measurements since the start."""

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
        """The time that is left, in words; empty where nothing is left, or nothing was measured yet."""
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
    """The implementation that is the fastest in a setting so far, by the median over its processes."""

    def __init__(self) -> None:
        self.times: dict[tuple[Any, ...], dict[str, list[float]]] = {}

    def add(self, cell: Cell, seconds: float) -> None:
        self.times.setdefault(cell.setting, {}).setdefault(cell.implementation, []).append(seconds)

    def fastest(self, cell: Cell) -> str:
        """Names the fastest in the setting of that cell, with its time; empty where nothing was timed in it."""
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
        self.reasons: set[str] = set()
        """Reasons that have been shown whole."""
        self.running: dict[str, tuple[Cell, float]] = {}
        """The cells that are being measured, by id, each with the time at which it began."""
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
        # The outcome stands first, because a narrow terminal cuts off the end of the line.
        outcome = _figures(measurement)
        name, _, where = cell.describe().partition(" ")
        name += " (noise configuration)" if measurement.noise else ""
        took = f"{measurement.seconds:.1f} s"
        if self.pace.left and not self.console.is_terminal:
            took += f"; {self.pace.left}"
        reason = measurement.reason
        new = self.console.is_terminal and reason and reason not in self.reasons
        why = f": {reason}" if reason and not new else ""
        self._line(f"[{self.pace.done}/{self.pace.total}] {name}: {outcome} ({took}), {where}{why}")
        if new:  # whole, since a remedy may stand at its end
            self.reasons.add(reason)
            self._line(f"  {reason}", whole=True)
        for sentence in measurement.warnings:
            self.warn(sentence)

    def held(self, measurement: Measurement, sentence: str) -> None:
        """Say why a measurement does not count yet: its cell is measured again later."""
        self.running.pop(measurement.id, None)
        self.warn(sentence)

    def warn(self, sentence: str) -> None:
        self._line(f"warning: {sentence}", whole=True)

    def shown(self) -> Group:
        """The last lines on a terminal: what is left, what runs, and the fastest in its setting."""
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
        # The text is not interpreted: a reason may hold square brackets, or sequences that steer a terminal. A terminal
        # cuts a line at its edge; warnings, and reasons when they are first met, are shown whole.
        text = printable(text)
        if self.console.is_terminal:
            self.console.print(Text(text), no_wrap=not whole, overflow="fold" if whole else "ellipsis")
        else:
            print(text, file=sys.stderr, flush=True)


def _figures(measurement: Measurement) -> str:
    """What was found, after the status of a row that is not ok, with the phase in which it ended."""
    parts = []
    if measurement.status != "ok":
        phase = f" in {measurement.ended_in}" if measurement.time and measurement.ended_in else ""
        parts.append(measurement.status + phase)
    if measurement.time:
        parts.append(f"{duration_text(measurement.time.step.median)} a step")
    if measurement.quality:
        parts.append(f"{measurement.quality.metric} {measurement.quality.value:.3f}")
    return ", ".join(parts) or "ok"


class GrowingTable:
    """A table that is printed as its rows come: first what is being done, then, in the same row, what came of it."""

    def __init__(self, columns: Sequence[str], widths: Sequence[int], aside: bool = False) -> None:
        """Print the head, to standard error if `aside`. The last column takes as much as it needs."""
        self.file = sys.stderr if aside else sys.stdout
        self.rows: list[tuple[str, ...]] = []
        """What was printed below the head."""
        self.row: tuple[str, ...] = ()
        self.widths = [max(len(column), width) for column, width in zip(columns, widths, strict=False)]
        self.at = 0
        self.end(*columns)
        self.end(*("-" * width for width in self.widths), "-" * len(columns[-1]))
        self.rows.clear()

    def begin(self, *cells: str) -> None:
        """Print the first cells of a row."""
        self.started = time.perf_counter()
        self._put(cells)

    def end(self, *cells: str) -> None:
        """Print the other cells of the row."""
        self._put(cells)
        print(file=self.file, flush=True)
        self.rows.append(self.row)
        self.at, self.row = 0, ()

    @property
    def seconds(self) -> float:
        """The time since the row began."""
        return time.perf_counter() - self.started

    def _put(self, cells: Sequence[str]) -> None:
        self.row = (*self.row, *cells)
        for cell in cells:
            width = self.widths[self.at] if self.at < len(self.widths) else 0
            print("  " * (self.at > 0) + printable(cell).ljust(width), end="", file=self.file, flush=True)
            self.at += 1
