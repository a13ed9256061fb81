"""What would break first when more devices share the work, and from how many devices on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import MeasuredLine
from metabench.forecast.model import Limit, Rates, Work, forecast, parts

TRIED = tuple(2**n for n in range(13))
"""Numbers of devices."""
HALF = 0.5
STRONG, WEAK = "strong", "weak"


@dataclass(frozen=True)
class Break:
    """Something that stops more devices from helping."""

    scaling: str
    what: str
    first: int | None
    """The least number of devices by any choice of the assumptions; None where no number that is tried does."""
    last: int | None
    """The least number of devices by all choices of the assumptions; None where some choice has none."""
    limits: tuple[Limit, ...] = ()
    """Limits of the time at the least number of devices."""


def breaks(line: MeasuredLine, work: Work, tasks: int, hardware: Hardware) -> list[Break]:
    """Breaks for `tasks` tasks shared (strong), and for as many on each device (weak); the earliest first."""
    found = [Break(STRONG, "devices are idle: more of them than tasks", tasks + 1, tasks + 1)]
    for scaling in (STRONG, WEAK):
        found += _breaks(scaling, line, work, tasks, hardware.choices(line.cell.precision))
    return sorted(found, key=lambda each: (each.first is None, each.first or 0, each.last is None, each.last or 0))


def _breaks(scaling: str, line: MeasuredLine, work: Work, tasks: int, choices: list[Rates]) -> Iterator[Break]:
    def total(devices: int) -> int:
        return tasks if scaling == STRONG else tasks * devices

    def inefficient(rates: Rates, devices: int) -> bool:
        return forecast(work, total(devices), devices, tasks, [rates]).efficiency.high < HALF

    def communicating(rates: Rates, devices: int) -> bool:
        return parts(work, total(devices), devices, rates).limit is Limit.COMMUNICATION

    def drawing(rates: Rates, devices: int) -> bool:
        own = -(-total(devices) // devices)
        return line.drawing.seconds(own, total(devices)) > parts(work, total(devices), devices, rates).step

    tests: dict[str, Callable[[Rates, int], bool]] = {
        "efficiency is below 50 %": inefficient,
        "communication takes longer than compute": communicating,
        "drawing tasks takes longer than a step": drawing,
    }
    for what, broken in tests.items():
        firsts = [next((devices for devices in TRIED if broken(rates, devices)), None) for rates in choices]
        known = [first for first in firsts if first is not None]
        first, last = min(known, default=None), max(known) if len(known) == len(firsts) else None
        yield Break(
            scaling, what, first, last, forecast(work, total(first), first, tasks, choices).limits if first else ()
        )


def most_tasks(line: MeasuredLine, hardware: Hardware) -> int | None:
    """How many tasks a device's memory holds, by the straight line of the measured peaks; None where it holds all."""
    if line.memory is None or line.memory.each.value <= 0:
        return None
    return max(0, int((hardware.memory.low - line.memory.fixed.value) / line.memory.each.value))
