"""Rows of one run stand on the same data: what a file holds may change while a run goes on, or before it is resumed."""

from collections.abc import Hashable, Iterable

from msgspec import structs

from metabench.record.cell import Cell
from metabench.record.measurement import PARTS, Data, Measurement

PIXELS = "pixel_hash"
"""Hash of the pixels that were used, beside that of what they were made from."""
SHOWN = 12


class SameData:
    """The data that each task distribution was measured on first, in a run or in a search."""

    def __init__(self, rows: Iterable[Measurement] = (), kind: str = "run") -> None:
        self._first: dict[Hashable, str] = {}
        self.kind = kind
        for row in rows:
            self.checked(row)

    def checked(self, row: Measurement) -> Measurement:
        """The row; `incorrect` and without figures where its data are not those of the rows before it."""
        changed = self.change(row.cell, row.data)
        return without_figures(row, changed) if changed else row

    def change(self, cell: Cell, data: Data | None) -> str:
        """A sentence where the data of a cell are not those that its task distribution had first; empty if they are."""
        if data is None:
            return ""
        own = identity_of(data)
        first = self._first.setdefault(cell.distribution, own)
        if own == first:
            return ""
        remedy = f"start a new {self.kind}"
        if not cell.path:  # what lies in a folder of the user's own is as it should be
            remedy = f"prepare them anew with `metabench data prepare`, and {remedy}"
        return (
            f"the data of {cell.problem} changed during the {self.kind} (hash {own[:SHOWN]}, where earlier rows have "
            f"{first[:SHOWN]}): {remedy}"
        )


def without_figures(row: Measurement, reason: str) -> Measurement:
    """The row of what must not be used, and why."""
    return structs.replace(row, status="incorrect", reason=reason, **dict.fromkeys(PARTS))


def identity_of(data: Data) -> str:
    """Hash of the pixels where there are any, or else of the definition."""
    return str(data.others.get(PIXELS) or data.content_hash)
