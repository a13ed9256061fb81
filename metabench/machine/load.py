"""How much other programs keep the processors from a measurement."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

NOTABLE_CORES = 0.15
LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Look:
    """Processor seconds used up to `at` (seconds of a monotonic clock)."""

    at: float
    busy: float  # by all processes
    stolen: float  # by the host's other virtual machines
    ours: Mapping[int, float]  # by this process and each below it, with what those had used that have ended


@dataclass(frozen=True)
class Load:
    """Cores kept busy, as means over a look."""

    others: float
    stolen: float


def load_between(first: Look | None, second: Look | None) -> Load | None:
    """Cores that others used between two looks; None where one of them saw nothing, or no time has passed.

    What a process of ours had used that ended in between, its parent has at the second look. So it is in both sums.
    """
    if first is None or second is None or second.at <= first.at:
        return None
    seconds = second.at - first.at
    ours = sum(second.ours.values()) - sum(first.ours.values())
    others = second.busy - first.busy - ours
    return Load(max(0.0, others / seconds), max(0.0, (second.stolen - first.stolen) / seconds))


def look() -> Look | None:
    """The processor time used so far by all, and by this process and those below it.

    None where the system does not tell: some containers hide what their host does.
    """
    try:
        times = psutil.cpu_times()
    except (OSError, psutil.Error):
        return None
    waiting = times.idle + getattr(times, "iowait", 0.0)
    stolen = getattr(times, "steal", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # Linux counts them in user and nice too
    ours: dict[int, float] = {}
    with suppress(psutil.Error):
        process = psutil.Process()
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                used = member.cpu_times()
                # With those of its children that ended: a cell's process is gone at the second look.
                ours[member.pid] = used.user + used.system + used.children_user + used.children_system
    return Look(time.monotonic(), sum(times) - waiting - stolen - guests, stolen, ours)


def look_twice(seconds: float) -> Load | None:
    """What others use during a look of `seconds`; None where it cannot be known."""
    first = look()
    time.sleep(seconds)
    return load_between(first, look())


def load_warning(seconds: float = LOOK_SECONDS, threshold: float = NOTABLE_CORES) -> str | None:
    """A sentence if processes other than this one and those below it keep more than `threshold` cores busy during a
    look of `seconds`; None if all is quiet or it cannot be known."""
    load = look_twice(seconds)
    if load is None or load.others <= threshold:
        return None
    return f"other processes use {load.others * 100:.0f} % of a core: timings will be noisy; close them or rerun later"
