"""What bounds a meta-iteration on a GPU, and what energy it takes: the columns that stand beside its time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from metabench.record.measurement import Measurement
from metabench.report.numbers import NOTHING, Valued, in_unit, percent, trim

FEW_BUSY = 0.5
"""A GPU that runs kernels in a smaller share of a step than this waits for most of it."""
KERNELS_A_LAUNCH = 2.0
"""Kernels in a launch, above which the host launches graphs, and is not what the GPU waits for."""
BY_LAUNCHES = "bound by launches"
BY_GAPS = "bound by gaps between kernels"
COUNT_UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
ENERGY_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
NOTES = {
    "busy": "Launches: how often the host puts work on the GPU in one meta-iteration. Busy: the share of the step in "
    "which the GPU runs at least one kernel, copy or fill.",
    BY_LAUNCHES: f"{BY_LAUNCHES}: the GPU is busy for less than {100 * FEW_BUSY:.0f} % of the step, and waits for the "
    "host to launch the next kernel. The time is the host's more than the GPU's.",
    BY_GAPS: f"{BY_GAPS}: the GPU is busy for less than {100 * FEW_BUSY:.0f} % of the step, though the host launches "
    "many kernels at once. They are short, and the GPU pauses between them.",
}


@dataclass(frozen=True)
class DeviceWork:
    """What one meta-iteration asks of a GPU. What is not known is None."""

    launches: float
    kernels: float | None
    busy_share: float | None

    @property
    def bound(self) -> str:
        """What the GPU waits for during most of the step, in words; empty where it is busy, or nothing is known."""
        if self.busy_share is None or self.kernels is None or self.busy_share >= FEW_BUSY:
            return ""
        return BY_LAUNCHES if self.kernels <= KERNELS_A_LAUNCH * self.launches else BY_GAPS


def device_work(rows: Iterable[Measurement]) -> DeviceWork | None:
    """The medians over rows of one cell; None where no row has any."""
    found = [part for row in rows if (part := row.launches) and part.launches is not None]
    launches = _median(found, "launches")
    if launches is None:
        return None
    return DeviceWork(launches, _median(found, "kernels"), _median(found, "busy_share"))


def joules(rows: Iterable[Measurement]) -> float | None:
    """The median energy of a meta-iteration over rows of one cell; None where no row has any."""
    return _median([row.energy for row in rows if row.energy], "joules")


def instructions_of(rows: Iterable[Measurement]) -> float | None:
    """The median count of a meta-iteration over rows of one cell; None where no row has any."""
    return _median([row.instructions for row in rows if row.instructions], "instructions")


def _median(parts: Sequence[Any], name: str) -> float | None:
    values = [value for part in parts if (value := getattr(part, name)) is not None]
    return median(values) if values else None


def launches_text(work: DeviceWork | None) -> str:
    """How many launches there are, with thousands apart; a fraction where iterations differ."""
    if work is None:
        return NOTHING
    whole = work.launches == round(work.launches)
    return Valued(f"{work.launches:,.0f}" if whole else f"{work.launches:,.1f}", work.launches)


def busy_text(work: DeviceWork | None) -> str:
    """The share in which kernels run, and what the GPU waits for."""
    if work is None or work.busy_share is None:
        return NOTHING
    return Valued(percent(work.busy_share), work.busy_share) + (f", {work.bound}" if work.bound else "")


def energy_text(energy: float | None) -> str:
    """Joules with three digits, in J, mJ or µJ."""
    if energy is None:
        return NOTHING
    scale, unit = in_unit(energy, ENERGY_UNITS)
    return Valued(f"{trim(energy / scale, 0, 0)} {unit}", energy)


def instructions_text(count: float | None) -> str:
    """A count with four digits, in thousands, millions or billions where it is that large."""
    if count is None:
        return NOTHING
    scale, unit = next(((s, u) for s, u in COUNT_UNITS if count >= s), (1.0, ""))
    return Valued(f"{count / scale:.4g}{unit}", count)


def instructions_notes(rows: Iterable[Measurement]) -> list[str]:
    """How instructions were counted."""
    methods = dict.fromkeys(row.instructions.method for row in rows if row.instructions)
    return [f"Instructions of one meta-iteration: {'; '.join(methods)}."] if methods else []


def launches_notes(rows: Sequence[Measurement]) -> list[str]:
    """What a reader must know of launches and busy share, and why a figure is missing."""
    works = [work for row in rows if (work := device_work([row]))]
    bounds = {work.bound for work in works}
    notes = [NOTES["busy"]] if works else []
    notes += [NOTES[bound] for bound in (BY_LAUNCHES, BY_GAPS) if bound in bounds]
    missing = dict.fromkeys(row.launches.note for row in rows if row.launches and row.launches.note)
    return notes + [f"No launches or no busy share of some configurations: {why}." for why in missing]


def energy_notes(rows: Iterable[Measurement]) -> list[str]:
    """How the energy was found."""
    methods = dict.fromkeys(row.energy.method for row in rows if row.energy)
    return [f"Energy of one meta-iteration, by: {'; '.join(methods)}."] if methods else []
