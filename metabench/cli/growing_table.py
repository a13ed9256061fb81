"""A table that a verification fills while it goes on."""

import sys
import time
from collections.abc import Sequence

from metabench.text import printable


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
