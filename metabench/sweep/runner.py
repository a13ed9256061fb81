"""Runs a sweep: which cells are left, in which order, what is skipped, what is recorded."""

import random
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from threading import Event

from msgspec import structs

from metabench import sources
from metabench.errors import UserError
from metabench.grouping import grouped
from metabench.record.cell import REPEATED, Cell
from metabench.record.environment import Environment
from metabench.record.measurement import SIDES, Measurement, Noise
from metabench.record.searching import ASKED
from metabench.sweep import trainings
from metabench.sweep.again import is_disturbed, job_again, settled, why
from metabench.sweep.backends.base import Backend, Work, open_backend, unit_of
from metabench.sweep.checkpoints import FOLDER as CHECKPOINTS
from metabench.sweep.checkpoints import changed_since, forget_paces, is_kept, pace_of, tidy
from metabench.sweep.environment import describe_machine, describe_run, meet
from metabench.sweep.estimate import beyond_limit
from metabench.sweep.folder import RunFolder, open_run_folder
from metabench.sweep.jobs import Failures, Job, Progress
from metabench.sweep.noise import noise_cell, pairs_for, spread
from metabench.sweep.same_code import SameCode
from metabench.sweep.same_data import SameData
from metabench.sweep.spec import Sweep
from metabench.sweep.stand_in import with_data

LOCAL = "local"


def plan(sweep: Sweep) -> list[Job]:
    """All jobs, in rounds, each round in an order of its own; only the first measures more than what a clock says.

    What will be compared (algorithms and engines in one setting) is measured together, in shuffled order, and the
    settings are shuffled: a machine that is slower for minutes then slows both sides of a ratio. Between them, at even
    intervals, the pairs of the noise configuration.
    """
    jobs: list[Job] = []
    first = _by_setting(sweep.cells)
    later = _by_setting([cell for each in sweep.cells if (cell := _repeated(each)).measure])
    for number in range(sweep.settings.rounds):
        shuffled = [list(together) for together in (later if number else first)]
        generator = random.Random(f"{sweep.settings.order_seed}/{number}")
        generator.shuffle(shuffled)
        for together in shuffled:
            generator.shuffle(together)
            jobs += [Job(cell, number) for cell in together]
    return spread(jobs, _noise_jobs(sweep, jobs))


def _by_setting(cells: Sequence[Cell]) -> Collection[list[Cell]]:
    return grouped(cells, lambda cell: cell.setting).values()


def _repeated(cell: Cell) -> Cell:
    """The cell as it is measured in all repetitions but the first."""
    return structs.replace(cell, measure=tuple(measure for measure in REPEATED if measure in cell.measure))


def _noise_jobs(sweep: Sweep, jobs: Sequence[Job]) -> list[list[Job]]:
    cell = noise_cell(sweep.cells)
    if cell is None:
        return []
    cell = structs.replace(cell, measure=("time",))
    pairs = pairs_for(sweep.settings.noise_pairs, sum("time" in job.cell.measure for job in jobs))
    return [[Job(cell, pair, Noise(pair, side)) for side in SIDES] for pair in range(pairs)]


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    resume: bool,
    data_dir: Path | None,
    progress: Progress,
    stop: Event | None = None,
    backend: Backend | None = None,
) -> None:
    """Run what is not in `out` yet, on a backend that is open, or else on this machine.

    Raises `UserError`; on KeyboardInterrupt the folder can be resumed. Once `stop` is set no cell begins any more; if
    any is left then, that is a KeyboardInterrupt.
    """
    sweep, stand_in, warnings = with_data(sweep, data_dir)
    with ExitStack() as stack:
        backend = backend or stack.enter_context(open_backend(LOCAL))
        folder = stack.enter_context(open_run_folder(out))
        if resume and folder.read_sweep() is None:
            progress.warn(f"'{out}' holds no run to go on with: one begins")
        rows, mended = begin(folder, sweep, resume, backend.name)
        unfinished = to_go_on_with(folder, rows)
        rows = [row for row in rows if row not in unfinished]
        code = SameCode(rows)
        code.check_unchanged(sources.folder(), out)
        folder.keep_sources(sources.digests(), sources.folder())
        said = [*mended, *warnings]
        if backend.remote:
            here = ""
            describe_run(folder, sweep, stand_in, said, progress, backend.name)
        else:
            here = describe_machine(folder, sweep, stand_in, said, progress)
            if rows and not any(row.machine for row in rows):
                here = ""  # rows of an older version do not say it: a run is of one kind
        if unfinished:  # not before the run is known to go on
            folder.withdraw(unfinished)
        done = {row.key: row for row in rows}
        jobs = plan(sweep)
        left = [job for job in jobs if job.key not in done]
        held = [(job, done[job.key]) for job in jobs if job.key in done and done[job.key].unsettled]
        to_come = [*left, *(job_again(job) for job, _ in held)]
        settings = {cell.id: cell.setting for cell in sweep.cells}
        work = Work(
            left,
            sweep.settings,
            data_dir,
            out,
            Failures(rows, sweep.cells, data_dir),
            progress,
            stop or Event(),
            lambda machine: meet(folder, machine),
            here,
            frozenset(unit_of(job) for job in jobs if job.key in done and done[job.key].time),
            {settings[row.id]: row.machine for row in rows if row.machine and row.id in settings},
        )
        there = len(jobs) - len(to_come)
        progress.begin(to_come, there, sweep.settings, lambda cell: pace_of(work.checkpoints, cell.id))
        if late := beyond_limit([job.cell for job in left], sweep.settings):
            progress.warn(late)
        if not backend.remote:  # other machines have a torch of their own
            for anew in _beginning_anew([job.cell for job in left], work.checkpoints):
                progress.warn(anew)
        data = SameData(rows)
        trainings.begin(work.checkpoints, sweep.cells, [job.cell for job in left])
        _measure(backend, work, folder, held, lambda row: code.checked(data.checked(row)))
        trainings.end(work.checkpoints)


def _beginning_anew(cells: Sequence[Cell], kept: Path) -> Iterator[str]:
    """A sentence on each kept training that cannot be gone on with, since metabench or torch has changed."""
    for cell in {cell.id: cell for cell in cells}.values():
        if changed := changed_since(kept, cell.id):
            yield f"the training of {cell.describe()} begins anew: {changed} changed since it was saved"


def _measure(
    backend: Backend,
    work: Work,
    folder: RunFolder,
    before: Sequence[tuple[Job, Measurement]],
    checked: Callable[[Measurement], Measurement],
) -> None:
    """Measure all jobs, and append their rows; what was disturbed is measured again at the end, and its row replaced.

    So is what was disturbed `before` the run was resumed.
    """
    held = {job.key: (job, first) for job, first in before}

    def rows(work: Work) -> Generator[tuple[Job, Measurement]]:
        with closing(backend.measure(work)) as measured:
            for job, found in measured:
                measurement = structs.replace(checked(found), noise=job.noise, machine=found.machine or work.here)
                work.failures.note(job, measurement)
                yield job, measurement

    with closing(rows(work)) as measured:
        for job, found in measured:
            disturbed = is_disturbed(job, found)
            found = structs.replace(found, unsettled=disturbed)
            folder.append(found)
            tidy(work.checkpoints, found.id, goes_on(found))
            folder.keep_sources(found.sources, sources.folder())
            if disturbed:
                held[job.key] = job, found
                work.progress.held(found, why(found))
            else:
                work.progress.finished(found)
    if not held:
        return
    again = [job_again(job) for job, _ in held.values()]
    homes = dict(work.homes)
    homes |= {job.cell.setting: first.machine for job, first in held.values()}
    later = replace(work, jobs=again, begun=frozenset(map(unit_of, again)), homes=homes)
    with closing(rows(later)) as measured:
        for job, found in measured:
            _, first = held[job.key]
            row = structs.replace(settled(first, found), unsettled=False)
            folder.replace(row)
            work.progress.finished(row)


def begin(folder: RunFolder, sweep: Sweep, resume: bool, backend: str = LOCAL) -> tuple[list[Measurement], list[str]]:
    """Check that the folder is this sweep's; gives the rows that it holds already, and what was mended."""
    text = folder.read_sweep()
    if (folder.path / ASKED).exists():
        raise UserError(f"'{folder.path}' holds a search: choose another --out")
    if text is None:
        if folder.measurements.exists():
            raise UserError(f"'{folder.path}' has measurements but no sweep.toml: choose another --out")
        folder.write_sweep(sweep.text)
        return [], []
    if not resume:
        raise UserError(f"'{folder.path}' holds a run already: add --resume to go on with it, or choose another --out")
    if text != sweep.text:
        raise UserError(f"'{folder.path}' holds a run of another sweep: resume it with the same file, --set and --only")
    before = (folder.read_environment() or Environment()).backend
    if before != backend:
        raise UserError(f"'{folder.path}' was begun on backend '{before}': resume it with --backend {before}")
    return folder.recover()


def goes_on(row: Measurement) -> bool:
    """Whether a row is of a training that something from outside ended, so that it is worth going on with."""
    return row.status in ("timeout", "oom", "crashed") and row.ended_in == "quality"


def to_go_on_with(folder: RunFolder, rows: list[Measurement]) -> list[Measurement]:
    """The rows of a run that is resumed whose trainings are gone on with."""
    kept = folder.path / CHECKPOINTS
    forget_paces(kept)
    return [row for row in rows if goes_on(row) and is_kept(kept, row.id)]
