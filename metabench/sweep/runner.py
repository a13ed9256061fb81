"""Runs a sweep: which cells are left, in which order, what is skipped, what is recorded."""

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import torch

from metabench.algorithms.base import parameter_count
from metabench.errors import Unsupported, UserError
from metabench.measure.conditions import disturbances, observe, warnings_now
from metabench.measure.machine import fingerprint, short_name
from metabench.models.base import MODELS
from metabench.rows import Row
from metabench.sweep.cell import Cell, is_larger
from metabench.sweep.folder import RunFolder, open_run_folder
from metabench.sweep.measurement import Measurement
from metabench.sweep.process import run_cell
from metabench.sweep.reference import SIDES, Reference, pairs_for, reference_cell, spread
from metabench.sweep.spec import Settings, Sweep
from metabench.tasks.base import TASKS
from metabench.tasks.omniglot import DataMissing


@dataclass(frozen=True)
class Job:
    """One cell in one round."""

    cell: Cell
    round: int
    reference: Reference | None = None
    """Set where the cell stands for itself no more: it is timed for the noise floor, its round being the pair."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from all other jobs of a sweep."""
        return (self.cell.id, self.round, self.reference.side if self.reference else "")


class Progress(Protocol):
    """What is told about a run while it runs."""

    def begin(self, total: int, done: int) -> None: ...
    def cell(self, cell: Cell) -> None: ...
    def finished(self, measurement: Measurement) -> None: ...
    def warn(self, sentence: str) -> None: ...


def plan(sweep: Sweep) -> list[Job]:
    """All jobs, in rounds, each round in an order of its own; only the first measures more than time.

    What will be compared (algorithms and engines in one setting) is measured together, in shuffled order, and the
    settings are shuffled: a machine that is slower for minutes then slows both sides of a ratio. Between them, at even
    intervals, the pairs of the reference.
    """
    jobs: list[Job] = []
    for number in range(sweep.settings.rounds):
        settings: dict[tuple[object, ...], list[Cell]] = {}
        for cell in sweep.cells:
            if number == 0:
                settings.setdefault(cell.setting, []).append(cell)
            elif "time" in cell.measure:
                settings.setdefault(cell.setting, []).append(replace(cell, measure=("time",)))
        shuffled = list(settings.values())
        generator = random.Random(f"{sweep.settings.order_seed}/{number}")
        generator.shuffle(shuffled)
        for together in shuffled:
            generator.shuffle(together)
            jobs += [Job(cell, number) for cell in together]
    return spread(jobs, _reference_jobs(sweep, jobs))


def _reference_jobs(sweep: Sweep, jobs: Sequence[Job]) -> list[list[Job]]:
    cell = reference_cell(sweep.cells)
    if cell is None:
        return []
    cell = replace(cell, measure=("time",))
    pairs = pairs_for(sweep.settings.noise_pairs, sum("time" in job.cell.measure for job in jobs))
    return [[Job(cell, pair, Reference(pair, side)) for side in SIDES] for pair in range(pairs)]


def run_sweep(
    sweep: Sweep, out: Path, *, resume: bool, data_dir: Path | None, progress: Progress, stop: Event | None = None
) -> None:
    """Run what is not in `out` yet. Raises `UserError`; on KeyboardInterrupt the folder can be resumed.

    Once `stop` is set no cell begins any more; if any is left then, that is a KeyboardInterrupt.
    """
    stop = stop or Event()
    sweep, stand_in, warnings = with_data(sweep, data_dir)
    with open_run_folder(out) as folder:
        rows, mended = begin(folder, sweep, resume)
        describe_machine(folder, sweep, stand_in, [*mended, *warnings], progress)
        done = {(row["id"], row["round"], (row.get("reference") or {}).get("side", "")) for row in rows}
        cells = {cell.id: cell for cell in sweep.cells}
        out_of_memory = [cells[row["id"]] for row in rows if row["status"] == "oom" and row["id"] in cells]
        jobs = plan(sweep)
        left = [job for job in jobs if job.key not in done]
        progress.begin(len(jobs), len(jobs) - len(left))
        for job, measurement in _measurements(left, sweep.settings, data_dir, out_of_memory, progress, stop):
            if measurement.status == "oom":
                out_of_memory.append(job.cell)
            folder.append(measurement)
            progress.finished(measurement)


def _measurements(
    jobs: list[Job],
    settings: Settings,
    data_dir: Path | None,
    out_of_memory: list[Cell],
    progress: Progress,
    stop: Event,
) -> Iterator[tuple[Job, Measurement]]:
    """One after the other what is timed or weighed; then, side by side if the sweep says so, what is trained alone.

    The latter by seeds: a run that is stopped early has every algorithm on the first of them.
    """
    together = [job for job in jobs if settings.side_by_side > 1 and job.cell.measure == ("quality",)]
    together.sort(key=lambda job: job.cell.seed)
    failed = ""
    for job in jobs:
        if job in together:
            continue
        if stop.is_set():
            raise KeyboardInterrupt
        progress.cell(job.cell)
        if job.reference:
            found = _skipped(job, failed) if failed else _measure(job, settings, data_dir, out_of_memory)
            failed = failed or (f"the reference was {found.status} before" if found.status != "ok" else "")
            yield job, replace(found, reference=asdict(job.reference))
        else:
            yield job, _measure(job, settings, data_dir, out_of_memory)

    def train(job: Job) -> Measurement | None:
        # What others do to the processor makes no difference to a score, so nothing is said of it.
        if stop.is_set():
            return None
        progress.cell(job.cell)
        return run_cell(job.cell, job.round, settings, data_dir, end)

    end = Event()
    with ThreadPoolExecutor(settings.side_by_side or 1) as pool:
        running = {pool.submit(train, job): job for job in together}
        try:
            for future in as_completed(running):
                if measurement := future.result():
                    yield running[future], measurement
            if any(future.result() is None for future in running):
                raise KeyboardInterrupt
        finally:
            # Also at once, on a second Ctrl-C: what runs is ended, and what waits does not begin.
            end.set()
            pool.shutdown(cancel_futures=True)


def begin(folder: RunFolder, sweep: Sweep, resume: bool) -> tuple[list[Row], list[str]]:
    """Check that the folder is this sweep's; gives the rows that it holds already, and what was mended."""
    text = folder.read_sweep()
    if text is None:
        if folder.measurements.exists():
            raise UserError(f"'{folder.path}' has measurements but no sweep.toml: choose another --out")
        folder.write_sweep(sweep.text)
        return [], []
    if not resume:
        raise UserError(f"'{folder.path}' holds a run already: add --resume to go on with it, or choose another --out")
    if text != sweep.text:
        raise UserError(f"'{folder.path}' holds a run of another sweep: resume it with the same file and --set")
    return folder.recover()


def with_data(sweep: Sweep, data_dir: Path | None) -> tuple[Sweep, str, list[str]]:
    """Prepare every task distribution once, before any cell; where Omniglot cannot be had, its stand-in if allowed.

    Gives the sweep with the tasks that will be measured, the stand-in used (or ""), and what to tell the user.
    """
    used = ""
    warnings: list[str] = []
    stand_in = sweep.settings.stand_in
    for task in sorted({cell.task for cell in sweep.cells}):
        cell = next(cell for cell in sweep.cells if cell.task == task)
        try:
            TASKS.get(task).build(cell.shape, data_dir)
        except Unsupported:
            continue  # each cell says so in its row
        except DataMissing as error:
            if not stand_in:
                raise
            used = stand_in
            warnings.append(f"{task} is not at hand, so {stand_in} stand in for it: {error}")
            sweep = replace(sweep, cells=tuple(replace(c, task=stand_in) if c.task == task else c for c in sweep.cells))
            TASKS.get(stand_in).build(cell.shape, data_dir)
    return sweep, used, warnings


def describe_machine(folder: RunFolder, sweep: Sweep, stand_in: str, warnings: list[str], progress: Progress) -> None:
    """Write what is known of the machine and of the run; refuses to go on with a run of another machine or data."""
    machine = fingerprint(max(cell.threads for cell in sweep.cells))
    summary = short_name(machine)
    before = folder.read_environment()
    if before and before.get("summary") != summary:
        raise UserError(
            f"'{folder.path}' was measured on another machine or with other versions "
            f"({before.get('summary', 'not known')}): start a new run"
        )
    if before and before.get("stand_in") != stand_in:
        raise UserError(
            f"'{folder.path}' was begun on {before.get('stand_in') or 'the real data'} and would go on with "
            f"{stand_in or 'the real data'}: start a new run"
        )
    state = warnings_now({cell.device for cell in sweep.cells})
    found = [*before.get("warnings", []), *warnings, *(f"{_now()}: {sentence}" for sentence in state)]
    for sentence in [*warnings, *state]:
        progress.warn(sentence)
    parts: Mapping[str, Any] = {
        "summary": summary,
        "warnings": list(dict.fromkeys(found)),
        "stand_in": stand_in,
        "sweep": {"name": sweep.name, "title": sweep.title},
        "machine": machine,
    }
    folder.write_environment(parts)


def _measure(job: Job, settings: Settings, data_dir: Path | None, out_of_memory: list[Cell]) -> Measurement:
    def size(model: str) -> int:
        return _model_size(model, job.cell, data_dir)

    failed = next((cell for cell in out_of_memory if is_larger(job.cell, cell, size)), None)
    if failed is None:
        return watched(job, settings, data_dir)
    return _skipped(job, f"memory ran out already at {failed.describe()}")


def _skipped(job: Job, reason: str) -> Measurement:
    return Measurement(job.cell.id, job.round, "skipped", reason, job.cell.to_json(), _now(), 0.0)


def watched(job: Job, settings: Settings, data_dir: Path | None, code: Path | None = None) -> Measurement:
    """Measure a cell, by the sources in `code` or else by these, and note what made its timing doubtful."""
    before = observe(job.cell.device)
    measurement = run_cell(job.cell, job.round, settings, data_dir, code=code)
    return replace(measurement, warnings=disturbances(before, observe(), measurement.time))


def _model_size(name: str, cell: Cell, data_dir: Path | None) -> int:
    """How many numbers the model's parameters hold on the cell's task; 0 where it cannot be built."""
    try:
        distribution = TASKS.get(cell.task).build(cell.shape, data_dir)
        model = MODELS.get(name)(distribution.input_shape, distribution.outputs)
    except Unsupported:
        return 0
    return parameter_count(model.init(torch.Generator()))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
