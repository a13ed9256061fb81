"""A call of a cell that is no meta-iteration, timed with what is known of the timing; and what disturbs a timing."""

from collections.abc import Callable

import psutil
import torch

from metabench.measure.clock import Budget, Timing, measure_time
from metabench.record.timing import Disturbance, Timed
from metabench.statistics.disturbance import disturbance
from metabench.sweep.workload import Workload


def timed(workload: Workload, call: Callable[[], object], budget: Budget) -> Timed:
    """What a call takes; it must be repeatable with constant work."""
    found = measure_time(call, torch.device(workload.cell.device), budget)
    return Timed(found.summary, found.noisy, found.note, disturbance_of(workload, found))


def disturbance_of(workload: Workload, timing: Timing) -> Disturbance | None:
    """What disturbed the timing; a process that waits for a GPU or for other processes may use little of its core."""
    cell = workload.cell
    cores = psutil.cpu_count() or cell.threads
    if cell.device != "cpu":
        return disturbance(timing.summary.samples, 1, cores)
    share = timing.processor_share if workload.group is None else None
    return disturbance(timing.summary.samples, cell.threads * cell.world_size, cores, timing.others, share)
