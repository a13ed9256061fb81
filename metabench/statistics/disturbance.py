"""Whether other programs have made a timing something else than the time of the work, by what was recorded of it."""

import math
from collections.abc import Sequence
from statistics import median

from metabench.record.timing import Disturbance

FASTEST = 0.1
"""The share of the samples that stands for the work undisturbed: other programs can only make a sample slower."""
SLOWED = 2.0
"""How many times the median is over that of the fastest samples in a disturbed timing; of 870 committed ones, in 3."""
ENOUGH_PROCESSOR = 0.8
"""The least processor seconds that work on a processor uses in a second, if nothing keeps it away: it is always busy
with one thread at least, and asleep between threads for less than a tenth of the time."""
SPARE = 0.5
"""How many cores more than there are threads and other programs may need together: load comes in short bursts, too."""


def slowed(samples: Sequence[float]) -> float:
    """How many times the median is over that of the fastest samples."""
    fastest = sorted(samples)[: max(1, math.ceil(FASTEST * len(samples)))]
    return median(samples) / median(fastest)


def disturbance(
    samples: Sequence[float],
    threads: int,
    cores: int,
    others: float | None = None,
    processor_share: float | None = None,
) -> Disturbance | None:
    """What disturbed a timing, with the factor that it cost; None where nothing did.

    `samples` are seconds a call. `others` is how many of the machine's `cores` other programs kept busy meanwhile, and
    `processor_share` the processor seconds that the process used in each second; None where that is not known, or says
    nothing since the process waits for a device or for other processes.
    """
    if (times := slowed(samples)) >= SLOWED:
        return Disturbance(
            f"half of the samples took {times:.2g} times as long as the fastest, or longer", round(times, 2)
        )
    if processor_share is not None and 0 < processor_share < ENOUGH_PROCESSOR:
        share = f"{100 * processor_share:.0f} % of the time"
        return Disturbance(f"the process had a processor for only {share}", round(1 / processor_share, 2))
    if others is not None and threads > 1 and threads + others > cores + SPARE:
        busy = f"{others:.1f} of {cores} cores"
        return Disturbance(f"other programs used {busy} meanwhile, and {threads} threads waited for each other")
    return None
