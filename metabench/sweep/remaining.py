"""The time that a run has left: what each measurement is expected to take, and how the finished ones compared."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from metabench.record.cell import Cell
from metabench.record.measurement import Measurement
from metabench.sweep.again import timed_alone
from metabench.sweep.estimate import Expected, evaluation_seconds, expected, step_seconds
from metabench.sweep.jobs import Job, PaceOf, unknown
from metabench.sweep.spec import Settings
from metabench.sweep.trainings import taken_over

TRUST = 1.0
"""Measurements of a kind after which their own ratio counts as much as that of all kinds."""
Key: TypeAlias = tuple[Hashable, ...]


@dataclass
class Ratio:
    """How many times as much was found as was expected: by kind, from the most general to the most special."""

    sums: dict[Key, list[float]] = field(default_factory=dict)
    """What was found, what was expected, and how often, by kind."""

    def add(self, kinds: Iterable[Key], found: float, guess: float) -> None:
        for kind in kinds:
            sums = self.sums.setdefault(kind, [0.0, 0.0, 0.0])
            for i, value in enumerate((found, guess, 1.0)):
                sums[i] += value

    def of(self, kinds: Iterable[Key]) -> float:
        """The ratio of the last of `kinds`, drawn towards that of the kind before it, and so on; 1 for the first."""
        ratio = 1.0
        for kind in kinds:
            found, guess, times = self.sums.get(kind, (0.0, 0.0, 0.0))
            if times:
                weight = TRUST * guess / times
                ratio = (found + ratio * weight) / (guess + weight)
        return ratio


class Remaining:
    """The measurements that are left, and the seconds that they will take."""

    def __init__(
        self, left: Sequence[Job], settings: Settings, clock: Callable[[], float], pace: PaceOf = unknown
    ) -> None:
        self.settings, self.clock, self.pace = settings, clock, pace
        self.steps, self.wholes = Ratio(), Ratio()
        self.left: dict[tuple[Key, bool], Counter[Expected]] = {}
        """How many of what has not begun are expected to take the same, by kind and by whether it trains alone."""
        self.ahead: float | None = None
        """The seconds of all that has not begun; None where they have to be added up anew."""
        self.running: dict[Hashable, tuple[Cell, float]] = {}
        """What is being measured, by the job's key, with the time at which it began."""
        self.again: set[Hashable] = {job.key for job in left if job.again}
        """Keys of what is to be measured again."""
        cells = [job.cell for job in left]
        self.others_train = taken_over(cells)
        """Ids of the configurations that take a training over from another."""
        each = {id(cell): cell for cell in cells}  # that of many repetitions is one
        for key, times in Counter(map(id, cells)).items():
            self._count(each[key], times)

    def began(self, job: Job) -> None:
        """A measurement begins."""
        self.running[job.key] = (job.cell, self.clock())
        self._count(job.cell, -1)

    def lost(self, job: Job) -> None:
        """A measurement ended with its node, and is to begin anew."""
        self._ended(job.key)
        self._count(job.cell, 1)

    def put_back(self, found: Measurement) -> None:
        """A measurement ended, and what it timed is to be measured again."""
        self._ended(found.key)
        self._learn(found)
        self.again.add(found.key)
        self._count(timed_alone(found.cell), 1)

    def finished(self, found: Measurement) -> None:
        """A measurement ended."""
        self._ended(found.key)
        if found.key in self.again:
            self.again.remove(found.key)  # its seconds are those of both times
        else:
            self._learn(found)

    def _learn(self, found: Measurement) -> None:
        cell = found.cell
        if found.status == "skipped" or not found.seconds:
            return
        if found.quality and found.quality.trained_by:  # it did not train
            return
        *kinds, own = _kinds(cell)
        if found.status != "ok":  # it ended early, as its own kind will again; of others that says nothing
            self.wholes.add([own], found.seconds, self._seconds(cell))
            return
        if step := _step(found):
            self.steps.add([*kinds, own], step / step_seconds(cell), 1.0)
        self.wholes.add([*kinds, own], found.seconds, self._paced(self._expected(cell), cell))

    @property
    def seconds(self) -> float:
        """How long it all takes from now on."""
        now = self.clock()
        running = [self.rest(cell, now - began) for cell, began in list(self.running.values())]
        if self.ahead is None:
            self.ahead = sum(self._ahead(max(1, len(running))))
        return sum(running) / max(1, len(running)) + self.ahead

    def _ahead(self, running: int) -> Iterator[float]:
        """Seconds of what has not begun, kind by kind, if as many go on side by side as are running now."""
        limit = self.settings.time_limit_s
        for (kind, alone), guesses in list(self.left.items()):  # a terminal's own thread looks at it, too
            kinds = _prefixes(kind)
            whole, step = self.wholes.of(kinds), self.steps.of(kinds)
            lanes = max(running, self.settings.side_by_side if alone else 1)
            for guess, times in list(guesses.items()):
                yield times * min(whole * (guess.fixed + step * guess.work), limit) / lanes

    def rest(self, cell: Cell, elapsed: float) -> float:
        """Seconds that a measurement goes on which has run for `elapsed`; one that is late goes on a little.

        A training that says how far it is knows better than any guess.
        """
        if pace := self.pace(cell):
            return min(pace.left + cell.eval_tasks * evaluation_seconds(cell), self.at_most(elapsed))
        return min(max(self._seconds(cell) - elapsed, elapsed / 10), self.at_most(elapsed))

    def at_most(self, elapsed: float) -> float:
        """Seconds after which a measurement is ended which has run for `elapsed`."""
        return max(0.0, self.settings.time_limit_s - elapsed)

    def _seconds(self, cell: Cell) -> float:
        return self.wholes.of(_kinds(cell)) * self._paced(self._expected(cell), cell)

    def _expected(self, cell: Cell) -> Expected:
        trains = "quality" not in cell.measure or cell.id not in self.others_train
        return expected(cell, self.settings, trains)

    def _paced(self, guess: Expected, cell: Cell) -> float:
        return guess.fixed + self.steps.of(_kinds(cell)) * guess.work

    def _ended(self, key: Hashable) -> None:
        self.running.pop(key, None)
        self.ahead = None

    def _count(self, cell: Cell, times: int) -> None:
        guesses = self.left.setdefault((_kind(cell), cell.measure == ("quality",)), Counter())
        guesses[self._expected(cell)] += times
        self.ahead = None


def _kind(cell: Cell) -> Key:
    """What measurements have in common that are wrongly guessed alike."""
    trains = "quality" in cell.measure
    return cell.device, trains, cell.distribution, cell.model, cell.engine, cell.algorithm, cell.measure


def _prefixes(kind: Key) -> list[Key]:
    return [kind[: i + 1] for i in range(len(kind))]


def _kinds(cell: Cell) -> list[Key]:
    return _prefixes(_kind(cell))


def _step(found: Measurement) -> float | None:
    """What a meta-iteration took, by the clock or by the training."""
    if found.time:
        return found.time.step.median
    quality = found.quality
    return quality.train_s / quality.iterations if quality and quality.train_s and quality.iterations else None
