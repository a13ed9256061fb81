"""How what takes long shows itself: a sweep by a bar with the time left on a terminal and plain lines elsewhere, checks
by a table that grows."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from metabench.sweep.cell import Cell
from metabench.sweep.measurement import Measurement
from metabench.text import printable


class ConsoleProgress:
    """Writes to standard error, so that tables on standard output can be piped."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("cells", total=None)
        self.total = 0
        self.number = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def begin(self, total: int, done: int) -> None:
        self.total, self.number = total, done
        self.bar.update(self.task, total=total, completed=done)
        if done:
            self._line(f"resuming: {done} of {total} measurements are there already")

    def cell(self, cell: Cell) -> None:
        self.bar.update(self.task, description=cell.describe())

    def finished(self, measurement: Measurement) -> None:
        self.number += 1
        self.bar.update(self.task, completed=self.number)
        cell = Cell.from_json(measurement.cell)
        outcome = _figures(measurement) if measurement.status == "ok" else f"{measurement.status}: {measurement.reason}"
        what = cell.describe() + (" (reference)" if measurement.reference else "")
        self._line(f"[{self.number}/{self.total}] {what}: {outcome} ({measurement.seconds:.1f} s)")
        for sentence in measurement.warnings:
            self.warn(sentence)

    def warn(self, sentence: str) -> None:
        self._line(f"warning: {sentence}")

    def _line(self, text: str) -> None:
        # Never wrapped and never interpreted: reasons may hold square brackets, or steer a terminal.
        text = printable(text)
        if self.console.is_terminal:
            self.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _figures(measurement: Measurement) -> str:
    parts = []
    if measurement.time:
        parts.append(f"{1e3 * measurement.time['step']['median']:.3g} ms a step")
    if measurement.quality:
        parts.append(f"{measurement.quality['metric']} {measurement.quality['value']:.3f}")
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
