"""The backend of this machine: one cell after the other."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from metabench.machine.cores import default_threads
from metabench.record.measurement import Measurement
from metabench.sweep.backends.base import BACKENDS, Backend, BackendKind, Work
from metabench.sweep.jobs import Job, observed, unobserved
from metabench.sweep.servers import Lend, Servers


@dataclass(frozen=True)
class Options:
    """No options."""


class Local:
    """Cells in processes of this machine."""

    name = "local"
    remote = False

    @property
    def cores(self) -> int:
        return default_threads()

    def measure(self, work: Work) -> Generator[tuple[Job, Measurement]]:
        """One after the other what is timed or weighed; then, side by side if the sweep says so, what is trained alone.

        The latter by seeds: a run that is stopped early has every algorithm on the first of them. And of those that
        share a training, one of each comes first: the others would only wait for it.
        """
        side_by_side = work.settings.side_by_side > 1
        together = in_turn([job for job in work.jobs if side_by_side and job.trains_alone])
        repetitions = sharing(work.jobs)
        with Servers() as servers, Servers() as of_noise:
            for job in work.jobs:
                if side_by_side and job.trains_alone:
                    continue
                if work.stop.is_set():
                    raise KeyboardInterrupt
                work.progress.began(job)
                repetition = repetitions.get(job.noise.pair) if job.noise else job.round
                lend = of_noise.of(job.round) if repetition is None else servers.of(repetition)
                given = job, work.settings, work.data_dir
                yield (
                    job,
                    work.failures.skip(job, work.here) or observed(*given, lend=lend, checkpoints=work.checkpoints),
                )
            yield from _side_by_side(together, work, servers.of("trained alone"))


def in_turn(jobs: Sequence[Job]) -> list[Job]:
    """The jobs by seeds; of one seed, the first of each training before the second of any."""
    before: Counter[str] = Counter()

    def turn(job: Job) -> tuple[int, int]:
        before[job.cell.training_id] += 1
        return job.cell.seed, before[job.cell.training_id]

    return sorted(jobs, key=turn)


def sharing(jobs: Sequence[Job]) -> dict[int, int]:
    """The noise pairs that share the servers of a repetition: the first one before or among its cells.

    Both sides of a pair have one server, as cells of a repetition do. No two pairs share one, so that pairs differ by
    what repetitions do: all other pairs have servers of their own.
    """
    pairs: dict[int, int] = {}
    repetition = None
    for job in reversed(jobs):
        if not job.noise:
            repetition = job.round
        elif repetition is not None:
            pairs[repetition] = job.noise.pair
    return {pair: repetition for repetition, pair in pairs.items()}


def _side_by_side(together: list[Job], work: Work, lend: Lend | None) -> Generator[tuple[Job, Measurement]]:
    def train(job: Job) -> Measurement | None:
        if work.stop.is_set():
            return None
        work.progress.began(job)
        return work.failures.skip(job, work.here) or unobserved(
            job, work.settings, work.data_dir, end, lend, work.checkpoints
        )

    end = Event()
    with ThreadPoolExecutor(work.settings.side_by_side or 1) as pool:
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


@contextmanager
def _open(options: Options) -> Iterator[Backend]:
    yield Local()


BACKENDS.register("local")(BackendKind("this machine, one configuration after the other", Options, _open))
