"""Rows of one run stand on the same files of the user's own: they may change while a run goes on, or is resumed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from metabench.errors import UserError
from metabench.record.measurement import Measurement
from metabench.record.reading import SOURCES
from metabench.sources import digest_of
from metabench.sweep.same_data import SHOWN, without_figures


class SameCode:
    """The files of the user's own as they were when rows of a run or a search were measured first."""

    def __init__(self, rows: Iterable[Measurement] = (), kind: str = "run") -> None:
        self.first: dict[str, str] = {}
        """SHA-256 by name."""
        self.kind = kind
        for row in rows:
            self.checked(row)

    def checked(self, row: Measurement) -> Measurement:
        """The row; `incorrect` and without figures where a file is not as it was for the rows before it."""
        changed = self.change(row.sources)
        return without_figures(row, changed) if changed else row

    def change(self, digests: Mapping[str, str]) -> str:
        """A sentence where a file is not as it was first, given the SHA-256 of each by its name; empty if all are."""
        for name, own in digests.items():
            if own != (first := self.first.setdefault(name, own)):
                return (
                    f"the file '{name}' changed during the {self.kind} (SHA-256 {own[:SHOWN]}, where earlier rows have "
                    f"{first[:SHOWN]}): start a new {self.kind}"
                )
        return ""

    def check_unchanged(self, place: Path, run: Path) -> None:
        """Raise `UserError` where a file in `place` is not as it was when rows of the run folder were measured."""
        for name, first in self.first.items():
            if digest_of(place / name) != first:
                raise UserError(
                    f"the file '{name}' has changed since rows of '{run}' were measured: put it back as it is in "
                    f"'{run / SOURCES}', or start a new {self.kind}"
                )
