"""A brief sweep of one setting on several engines, for advice on which to take."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metabench.engines.base import ENGINES
from metabench.errors import Unsupported, UserError
from metabench.machine.conditions import warnings_now
from metabench.record.axes import quoted
from metabench.record.measurement import Measurement
from metabench.sweep.again import is_disturbed, job_again, settled, why
from metabench.sweep.cell_tasks import training_tasks
from metabench.sweep.jobs import Job, Progress
from metabench.sweep.process import run_cell
from metabench.sweep.runner import plan
from metabench.sweep.servers import Servers
from metabench.sweep.spec import Sweep, parse_sweep


def sweep_of(
    axes: Mapping[str, Any], engines: str, rounds: int, time_limit_s: float, cores: int, own: Sequence[str] = ()
) -> Sweep:
    """A cell for each of the engines (names with commas between; empty or `all`: every one), and for those of the user.

    Raises `UserError` for an engine that there is not, and for several values of an axis.
    """
    for axis, value in axes.items():
        if not isinstance(value, (str, int, float)):
            raise UserError(f"advice is for one setting: '{axis}' takes one value, not {quoted(value)}")
    chosen = ENGINES.names() if engines in ("", "all") else [name.strip() for name in engines.split(",")]
    chosen = list(dict.fromkeys([*chosen, *own]))
    settings = {"rounds": rounds, "noise_pairs": 0, "time_limit_s": time_limit_s, "time_budget_s": 1.0}
    grid = {**axes, "engine": chosen, "measure": ["time", "memory"]}
    return parse_sweep("advise", {"run": settings, "grid": [grid]}, "", cores)


def measure_briefly(sweep: Sweep, data_dir: Path | None, progress: Progress) -> Iterator[Measurement]:
    """A row for each engine and round, as soon as it is measured. Raises `UserError` where the data cannot be had."""
    with suppress(Unsupported):  # each cell says so in its row
        training_tasks(sweep.cells[0], data_dir)
    for sentence in warnings_now(sweep.cells):
        progress.warn(sentence)
    jobs = plan(sweep)
    progress.begin(jobs, 0, sweep.settings)
    held: list[tuple[Job, Measurement]] = []
    with Servers() as servers:

        def measured(job: Job) -> Measurement:
            progress.began(job)
            return run_cell(job.cell, job.round, sweep.settings, data_dir, lend=servers.of(job.round))

        for job in jobs:
            measurement = measured(job)
            if is_disturbed(job, measurement):
                held.append((job, measurement))
                progress.held(measurement, why(measurement))
                continue
            progress.finished(measurement)
            yield measurement
        for job, first in held:
            measurement = settled(first, measured(job_again(job)))
            progress.finished(measurement)
            yield measurement
