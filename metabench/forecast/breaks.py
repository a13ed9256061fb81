"""What would break first when more devices share the work: from how many on, by all choices of what is assumed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from metabench.forecast.hardware import Hardware
from metabench.forecast.measured import Line
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
    """The least number of devices by any choice; None: by none up to the most that are tried."""
    last: int | None
    """The least number of devices by all choices; None: by some never."""
    limits: tuple[Limit, ...] = ()
    """What takes the time at the first of them."""


def breaks(line: Line, work: Work, tasks: int, hardware: Hardware) -> list[Break]:
    """Of `tasks` tasks shared (strong), and as many on each device (weak); the earliest first."""
    choices = hardware.choices(line.precision)
    found = [Break(STRONG, "devices are idle: more of them than tasks", tasks + 1, tasks + 1)]
    for scaling in (STRONG, WEAK):
        found += _of(scaling, line, work, tasks, choices)
    return sorted(found, key=lambda each: (each.first is None, each.first or 0, each.last is None, each.last or 0))


def _of(scaling: str, line: Line, work: Work, tasks: int, choices: Sequence[Rates]) -> Iterator[Break]:
    def total(devices: int) -> int:
        return tasks if scaling == STRONG else tasks * devices

    def wasteful(rates: Rates, devices: int) -> bool:
        return forecast(work, total(devices), devices, tasks, [rates]).efficiency.high < HALF

    def talking(rates: Rates, devices: int) -> bool:
        found = parts(work, total(devices), devices, rates)
        return found.communication > found.compute

    def drawing(rates: Rates, devices: int) -> bool:
        own = -(-total(devices) // devices)
        return line.drawing.seconds(own, total(devices)) > parts(work, total(devices), devices, rates).step

    whats: dict[str, Callable[[Rates, int], bool]] = {
        "efficiency is below 50 %": wasteful,
        "communication takes longer than compute": talking,
        "drawing tasks takes longer than a step": drawing,
    }
    for what, broken in whats.items():
        first, last = _from(choices, broken)
        limits = forecast(work, total(first), first, tasks, choices).limits if first else ()
        yield Break(scaling, what, first, last, limits)


def _from(choices: Sequence[Rates], broken: Callable[[Rates, int], bool]) -> tuple[int | None, int | None]:
    """The least number of devices at which it is broken by any choice, and by all."""
    firsts = [next(filter(partial(broken, rates), TRIED), None) for rates in choices]
    known = [first for first in firsts if first is not None]
    return min(known, default=None), max(known) if len(known) == len(firsts) else None


def most_tasks(line: Line, hardware: Hardware) -> int | None:
    """How many tasks a device's memory holds, by the straight line of the measured peaks; None where all do."""
    if line.memory is None or line.memory.each.value <= 0:
        return None
    return max(0, int((hardware.assumed["memory"].low - line.memory.fixed.value) / line.memory.each.value))
