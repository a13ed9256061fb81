"""Two git revisions, measured in pairs: for each cell and round one right after the other, each by its own code."""

import random
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from msgspec import structs

from metabench import sources
from metabench.errors import UserError
from metabench.record.environment import Code, Environment, Machine
from metabench.record.measurement import SIDES, Noise
from metabench.sweep.environment import describe_machine
from metabench.sweep.folder import RunFolder, open_run_folder
from metabench.sweep.jobs import Job, Progress, observed
from metabench.sweep.noise import noise_cell
from metabench.sweep.runner import begin
from metabench.sweep.same_code import SameCode
from metabench.sweep.spec import Sweep
from metabench.sweep.stand_in import with_data
from metabench.sweep.worktrees import Revision, checked_out, counterpart, find_revision, is_dirty

ROUNDS = 36
"""Default: the fewest that find a slow-down of a tenth 95 times in 100 in the noise of the run `default-calm`."""
ROUNDS_A_PAIR = 3  # in every third round the base times the noise configuration as two
NOTE = "# Measured by `metabench compare --rev`, which decides on the number of repetitions.\n"


@dataclass(frozen=True)
class Turn:
    """One process: a job, by the code of one side."""

    job: Job
    side: int

    @property
    def key(self) -> tuple[int, str, int, str]:
        """What tells it from all other turns."""
        return self.side, *self.job.key


def turn_pairs(sweep: Sweep, rounds: int) -> list[tuple[Turn, Turn]]:
    """All pairs of turns in the order of measuring: cells, and the sides of a pair, in seeded random order.

    Only the first round measures more than time. Both turns of a pair of the noise configuration are by the base.
    """
    generator = random.Random(sweep.settings.order_seed)
    timed = [structs.replace(cell, measure=("time",)) for cell in sweep.cells if "time" in cell.measure]
    repeated = noise_cell(timed)
    planned: list[tuple[Turn, Turn]] = []
    for number in range(rounds):
        cells = list(sweep.cells) if number == 0 else list(timed)
        generator.shuffle(cells)
        for cell in cells:
            first = generator.randrange(2)
            job = Job(cell, number)
            planned.append((Turn(job, first), Turn(job, 1 - first)))
        if repeated and number % ROUNDS_A_PAIR == 0:
            pair = number // ROUNDS_A_PAIR
            a, b = (Turn(Job(repeated, pair, Noise(pair, side)), 0) for side in SIDES)
            planned.append((a, b))
    return planned


def measure_revisions(
    names: tuple[str, str],
    sweep: Sweep,
    rounds: int,
    out: Path,
    *,
    resume: bool,
    data_dir: Path | None,
    progress: Progress,
    repository: Path = Path(),
    stop: Event | None = None,
) -> tuple[Path, Path]:
    """Measure both revisions of the repository that `repository` lies in; gives their run folders within `out`.

    On KeyboardInterrupt the folders can be resumed, and nothing is left checked out. Once `stop` is set no process
    begins any more; if any is left then, that is a KeyboardInterrupt. Raises `UserError`.
    """
    here = sources.folder()
    base, new = (find_revision(repository, name) for name in names)
    if is_dirty(repository):
        progress.warn("files differ from HEAD: what is committed is measured, and not what is in the working tree")
    if out.exists() and not resume:
        raise UserError(f"'{out}' is there already: add --resume to go on with it, or choose another --out")
    data_dir = data_dir.resolve() if data_dir else None  # the processes run in folders of their own
    sweep, stand_in, warnings = with_data(replace(sweep, text=NOTE + sweep.text), data_dir)
    paths = (out / f"base-{base.short}", out / f"new-{new.short}")
    with ExitStack() as stack:
        folders = [stack.enter_context(open_run_folder(path)) for path in paths]
        pairing = _pairing(folders, f"{base.commit} {new.commit}")
        done: set[tuple[int, str, int, str]] = set()
        failed: set[str] = set()
        measured: list[SameCode] = []
        for side, (folder, revision) in enumerate(zip(folders, (base, new), strict=True)):
            rows, mended = begin(folder, sweep, resume)
            for row in rows:
                done.add((side, *row.key))
                failed |= {row.id} if row.status != "ok" else set()
            measured.append(SameCode(rows))
            describe_machine(folder, sweep, stand_in, [*mended, *warnings], progress)
            _describe_revision(folder, revision, pairing)
        code = stack.enter_context(checked_out(repository, (base, new)))
        places = [counterpart(repository, here, tree) for tree in code]
        stack.callback(sources.use, here)
        for folder, place, known in zip(folders, places, measured, strict=True):
            known.check_unchanged(place, folder.path)
        turns = [turn for pair in turn_pairs(sweep, rounds) for turn in pair]
        left = [turn.job for turn in turns if turn.key not in done]
        progress.begin(left, len(turns) - len(left), sweep.settings)
        for turn in turns:
            # What failed on one side has nothing to be compared with on the other: its pair is the last one.
            job = turn.job
            if turn.key in done or (job.cell.id in failed and not _begun(turn, done)):
                continue
            if stop and stop.is_set():
                raise KeyboardInterrupt
            progress.began(job)
            sources.use(places[turn.side])
            found = observed(job, sweep.settings, data_dir, code[turn.side])
            found = measured[turn.side].checked(structs.replace(found, noise=job.noise))
            folders[turn.side].append(found)
            folders[turn.side].keep_sources(found.sources, places[turn.side])
            done.add(turn.key)
            failed |= {job.cell.id} if found.status != "ok" else set()
            progress.finished(found)
    return paths


def _pairing(folders: Sequence[RunFolder], commits: str) -> str:
    """The name that both runs share, and no other two: that of the comparison which is gone on with, or a new one.

    The commits alone would not do. Two comparisons of the same commits are no pairs of each other.
    """
    found = [environment.pairing for folder in folders if (environment := folder.read_environment())]
    return next(filter(None, found), None) or f"{commits} {secrets.token_hex(8)}"


def _begun(turn: Turn, done: set[tuple[int, str, int, str]]) -> bool:
    """Whether the other side of a turn's pair is there."""
    return turn.job.noise is None and replace(turn, side=1 - turn.side).key in done


def _describe_revision(folder: RunFolder, revision: Revision, pairing: str) -> None:
    """Say in the run's environment whose code it measured: not that of the program that runs."""
    environment = folder.read_environment() or Environment()
    code = Code(commit=revision.commit, dirty=False)
    machine = structs.replace(environment.machine or Machine(), metabench=code)
    named = {"name": revision.name, "date": revision.date}
    folder.write_environment(structs.replace(environment, machine=machine, revision=named, pairing=pairing))
