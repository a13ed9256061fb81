"""How much of the processors other programs took while a profile was made."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from metabench.machine.load import NOTABLE_CORES, load_between, look
from metabench.text import counted

WAITING = 0.5
"""Programs beyond the processors, from which on a load says that programs wait for each other."""


@dataclass(frozen=True)
class Crowding:
    """The machine while a profile was made. What cannot be known is None."""

    others: float | None
    """Processors that other programs kept busy, on average."""
    load: float | None
    """Programs that ran or waited to run in the last minute, this one included."""
    cores: int
    """Logical processors of the machine."""

    @property
    def exceeded(self) -> bool:
        """Whether more programs wanted to run than there are processors, and others than this one are known to be there
        or may be."""
        crowded = self.load is not None and self.load > self.cores + WAITING
        return crowded and (self.others is None or self.others > NOTABLE_CORES)

    @property
    def warning(self) -> str:
        """What a reader must know of it before believing a time; empty if the machine was quiet."""
        if self.exceeded:
            return (
                f"Overloaded: {self.load:.1f} programs wanted to run on {counted(self.cores, 'core')}. Other programs "
                "took processor time from this profile, so that its times are too long. Close them and profile again."
            )
        if self.others is not None and self.others > NOTABLE_CORES:
            return (
                f"Other programs kept {self.others:.1f} of {counted(self.cores, 'core')} busy during the profile: "
                "its times may be too long. Close them and profile again."
            )
        return ""


def watch() -> Callable[[], Crowding]:
    """Begin to watch; the function that is given ends it."""
    first = look()

    def crowding() -> Crowding:
        between, load = load_between(first, look()), None
        with suppress(OSError, AttributeError):  # Windows has no such figure
            load = os.getloadavg()[0]
        return Crowding(between.others if between else None, load, os.cpu_count() or 1)

    return crowding
