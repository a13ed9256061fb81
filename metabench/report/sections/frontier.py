"""Time against peak memory: which engines and techniques no other beats at both, doing the same work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metabench.record.measurement import Measurement
from metabench.report.bundles import (
    TRAINING_AXES,
    Bundle,
    axes_but,
    bundles,
    sound_rows,
    status_and_reason,
    telling_apart,
    time_key,
    varying,
)
from metabench.report.numbers import NOTHING, bytes_text
from metabench.report.render.tables import (
    TECHNIQUE_AXES,
    Section,
    Table,
    axis_word,
    setting,
    technique_text,
    techniques,
    without_empty_columns,
)
from metabench.report.sections.cost import step_text
from metabench.report.sections.device import TITLES, device_columns, device_notes

GROUP_AXES = ("task", "ways", "shots", "model", "device", "threads", "world_size", "machine")
"""One table for each combination of these."""
EXACT = ("checkpoint",)
"""Techniques that leave the direction as it is."""
PROCESS, KEPT = " †", " §"
NOTES = {
    PROCESS: "† The memory of the process as a whole, which is another measure: neither on a frontier nor against one.",
    KEPT: "§ It allocates nothing in an iteration, because it keeps its work space from one to the next, and what it "
    "keeps is not known: neither on a frontier nor against one.",
}
ON_ALL, ON_OWN, OFF = "●", "○", ""
SAYS = f"{ON_ALL}: nothing that does the same work is both faster and smaller, as measured"
SAYS_OWN = f"; {ON_OWN}: nothing that also computes the same direction (every technique but checkpointing changes it)."


@dataclass(frozen=True)
class Entry:
    """A bundle, and where it stands among those that do the same work."""

    bundle: Bundle
    mark: str

    @property
    def memory(self) -> str:
        """The peak, marked where it cannot be held against others."""
        peak = self.bundle.peak
        if peak:
            return bytes_text(peak.bytes) + ("" if peak.bytes else KEPT)
        process = _of_process(self.bundle)
        return NOTHING if process is None else bytes_text(process) + PROCESS


def frontier_section(rows: Sequence[Measurement], data: Mapping[str, str]) -> Section:
    """A table for each setting in which two ways of doing the same work have a time and an exact peak of memory."""
    works: dict[tuple[Any, ...], list[Bundle]] = {}
    for bundle in bundles(rows, time_key):
        key = axes_but(bundle.cell, "seed", "measure", "engine", *TRAINING_AXES, *TECHNIQUE_AXES)
        works.setdefault(key, []).append(bundle)
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for work in works.values():
        if sum(_comparable(bundle) for bundle in work) > 1:
            key = tuple(work[0].cell[axis] for axis in GROUP_AXES)
            groups.setdefault(key, []).extend(frontier(work))
    return Section("Time against memory", tuple(_table(entries, data) for entries in groups.values()))


def frontier(work: Sequence[Bundle]) -> list[Entry]:
    """The bundles that do the same work, the fastest first, each with its mark."""
    found = [Entry(bundle, _mark(bundle, work)) for bundle in work if bundle.asked_for("memory")]
    return sorted(found, key=lambda entry: entry.bundle.step.value if entry.bundle.step else float("inf"))


def _mark(bundle: Bundle, work: Sequence[Bundle]) -> str:
    if not _comparable(bundle):
        return OFF
    better = [other for other in work if _comparable(other) and _beats(other, bundle)]
    if not better:
        return ON_ALL
    return OFF if any(_direction(other) == _direction(bundle) for other in better) else ON_OWN


def _comparable(bundle: Bundle) -> bool:
    return bundle.step is not None and bundle.peak is not None and bundle.peak.bytes > 0


def _beats(other: Bundle, bundle: Bundle) -> bool:
    """Faster and no larger, or smaller and no slower."""
    if not (other.step and bundle.step and other.peak and bundle.peak and other.peak.method == bundle.peak.method):
        return False
    time, memory = other.step.value - bundle.step.value, other.peak.bytes - bundle.peak.bytes
    return time <= 0 and memory <= 0 and (time, memory) != (0, 0)


def _direction(bundle: Bundle) -> tuple[str, ...]:
    """Equal for what computes the same direction."""
    return techniques(bundle.cell, [axis for axis in TECHNIQUE_AXES if axis not in EXACT])


def _of_process(bundle: Bundle) -> int | None:
    memories = [row.memory for row in sound_rows(bundle.rows) if row.memory]
    peaks = [m.nvml_bytes if m.resident_bytes is None else m.resident_bytes for m in memories]
    return max((peak for peak in peaks if peak is not None), default=None)


def _table(entries: Sequence[Entry], data: Mapping[str, str]) -> Table:
    cells = [entry.bundle.cell for entry in entries]
    left_out = {"engine", "outer", "seed", "measure", *GROUP_AXES, *TRAINING_AXES, *TECHNIQUE_AXES}
    axes = [axis for axis in cells[0].axes if axis not in left_out]
    sizes = [axis for axis in varying(cells, axes) if axis != "algorithm"]
    sizes += telling_apart(cells, ("algorithm", "engine", *TECHNIQUE_AXES, *sizes), ("outer",))
    columns: list[tuple[str, Callable[[Entry], str]]] = [("algorithm", lambda entry: entry.bundle.algorithm)]
    columns += [(axis_word(axis), _axis_value(axis)) for axis in sizes]
    columns += [
        ("engine", lambda entry: str(entry.bundle.cell.engine)),
        ("technique", lambda entry: technique_text(entry.bundle.cell) if techniques(entry.bundle.cell) else NOTHING),
        ("status", lambda entry: status_and_reason(entry.bundle)),
        ("step time", lambda entry: step_text(entry.bundle)),
        *device_columns(_sound),
        ("peak memory", lambda entry: entry.memory),
        ("frontier", lambda entry: entry.mark),
    ]
    body = [[text(entry) for _, text in columns] for entry in entries]
    kept, shown = without_empty_columns([title for title, _ in columns], body, ("technique", *TITLES))
    methods = dict.fromkeys(entry.bundle.peak.method for entry in entries if entry.bundle.peak)
    notes = [f"Peak memory of one meta-iteration, by: {'; '.join(methods)}."]
    notes += [note for mark, note in NOTES.items() if any(mark in entry.memory for entry in entries)]
    notes += device_notes(row for entry in entries for row in entry.bundle.sound)
    fixed = [axis for axis in axes if axis not in (*sizes, "algorithm")]
    return Table(
        f"Time against memory: {setting(cells[0], (*GROUP_AXES, *fixed), data)}",
        SAYS + (SAYS_OWN if "technique" in kept else "."),
        kept,
        shown,
        tuple(notes),
        tuple(entry.bundle.ids for entry in entries),
    )


def _sound(entry: Entry) -> list[Measurement]:
    return entry.bundle.sound


def _axis_value(axis: str) -> Callable[[Entry], str]:
    return lambda entry: str(entry.bundle.cell[axis])
