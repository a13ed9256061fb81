"""Time against peak memory: which engines and techniques are Pareto-optimal among those that do the same work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metabench.grouping import grouped
from metabench.report import marks
from metabench.report.axes import MACHINE, TASK, TECHNIQUES, in_title_order
from metabench.report.bundles import Bundle, by_cost, values_of
from metabench.report.numbers import NOTHING, bytes_text
from metabench.report.render.tables import Table, setting, techniques
from metabench.report.results import Run
from metabench.report.sections.base import Column, labels, section, table_of
from metabench.report.sections.columns import DEVICE, STATUS, STEP, Line, memory_notes

GROUP = in_title_order((*TASK, "model", *MACHINE))
"""Axes of which each combination of values has a table of its own."""
EXACT = ("checkpoint", "second_order", "kept_steps")
"""Techniques that leave the direction as it is."""
PROCESS, KEPT = " †", " §"
MARKS = {
    PROCESS: "† Memory of the whole process, which is another measure: not compared.",
    KEPT: "§ It allocates nothing in an iteration, because it keeps its work space, whose size is not known: not "
    "compared.",
}
ON_ALL, ON_OWN, OFF = "●", "○", ""
SAYS = f"{ON_ALL} Pareto-optimal: nothing that does the same work is both faster and smaller, as measured"
SAYS_OWN = (
    f"; {ON_OWN} Pareto-optimal among those that compute the same meta-gradient (checkpointing and forward over "
    "reverse leave it unchanged)."
)


@dataclass(frozen=True)
class Entry(Line):
    """A bundle, and where it stands among those that do the same work."""

    place: str = OFF
    doubt: str = ""
    """The mark of a place that stands on a disturbed time."""


@section("Time against memory", place=40)
def frontier_tables(run: Run) -> Iterator[Table]:
    """A table for each setting in which two ways of doing the same work have a time and an exact peak of memory."""
    works = by_cost(run.timed, "engine", *TECHNIQUES)
    entries = [entry for work in works if sum(map(_comparable, work)) > 1 for entry in frontier(work)]
    for group in grouped(entries, lambda entry: values_of(entry.bundle.cell, GROUP)).values():
        yield _table(group, run)


def frontier(work: Sequence[Bundle]) -> list[Entry]:
    """The bundles that do the same work, the fastest first, each with its place."""
    found = [
        Entry(bundle, bundle, place=_place(bundle, work), doubt=marks.disturbed_mark(*_stands_on(bundle, work)))
        for bundle in work
        if bundle.asked_for("memory")
    ]
    return sorted(found, key=lambda entry: entry.bundle.step.value if entry.bundle.step else float("inf"))


def _place(bundle: Bundle, work: Sequence[Bundle]) -> str:
    if not _comparable(bundle):
        return OFF
    better = [other for other in work if _comparable(other) and _beats(other, bundle)]
    if not better:
        return ON_ALL
    return OFF if any(_direction(other) == _direction(bundle) for other in better) else ON_OWN


def _stands_on(bundle: Bundle, work: Sequence[Bundle]) -> list[Bundle]:
    """The bundles whose times decide on the place: its own, and those that might beat it if they were faster."""
    peak = bundle.peak
    if not (_comparable(bundle) and peak):
        return []
    if _place(bundle, work) == OFF:
        return [bundle]
    return [other for other in work if _comparable(other) and other.peak and other.peak.bytes <= peak.bytes]


def _comparable(bundle: Bundle) -> bool:
    return bundle.step is not None and bundle.peak is not None and bundle.peak.bytes > 0


def _beats(other: Bundle, bundle: Bundle) -> bool:
    """Whether `other` is faster and no larger, or smaller and no slower."""
    if not (other.step and bundle.step and other.peak and bundle.peak and other.peak.kind == bundle.peak.kind):
        return False
    time, memory = other.step.value - bundle.step.value, other.peak.bytes - bundle.peak.bytes
    return time <= 0 and memory <= 0 and (time, memory) != (0, 0)


def _direction(bundle: Bundle) -> tuple[str, ...]:
    """A key that is equal for bundles that compute the same direction."""
    return techniques(bundle.cell, [axis for axis in TECHNIQUES if axis not in EXACT])


def _memory(entry: Entry) -> str:
    """The peak, with a mark where it cannot be compared with others."""
    bundle = entry.bundle
    if bundle.peak:
        return bytes_text(bundle.peak.bytes) + ("" if bundle.peak.bytes else KEPT)
    memories = [row.memory for row in bundle.sound if row.memory]
    peaks = [m.resident_bytes if m.resident_bytes is not None else m.nvml_bytes for m in memories]
    process = max((peak for peak in peaks if peak is not None), default=None)
    return NOTHING if process is None else bytes_text(process) + PROCESS


def _table(entries: Sequence[Entry], run: Run) -> Table:
    cells = [entry.bundle.cell for entry in entries]
    named, fixed = labels(cells, GROUP, ("algorithm", "engine"), TECHNIQUES, ("outer",), at=1)
    peak = Column[Entry](
        "peak memory",
        _memory,
        notes=lambda entries: memory_notes(entry.bundle for entry in entries),
        cost=lambda entry: entry.bundle.cell,
    )
    return table_of(
        f"Time against memory: {setting(cells[0], (*GROUP, *fixed), run.data_names)}",
        SAYS + (SAYS_OWN if any(map(techniques, cells)) else "."),
        [*named, STATUS, STEP, *DEVICE, peak, Column("frontier", lambda entry: (entry.place + entry.doubt).strip())],
        entries,
        lambda entry: entry.bundle.ids,
        marks={**marks.MARKS, **MARKS},
    )
