"""Hands the units of a sweep to the nodes of a cluster, of whatever kind, and takes back what they measure."""

import json
import time
from collections import deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from metabench.errors import UserError
from metabench.machine.fingerprint import short_name
from metabench.machine.revision import revision
from metabench.record.environment import Code, Environment
from metabench.record.environment import Machine as Fingerprint
from metabench.record.measurement import Measurement
from metabench.record.reading import measurement_of, typed
from metabench.sweep.backends.base import Machine, Work, unit_of
from metabench.sweep.jobs import Job

RETRIES = 2
"""How often a cell is tried again whose node was lost."""
POLL_S = 0.1
PATIENCE_S = 30.0
"""Seconds after which a user is told that no node is free yet."""
BEGUN = "other configurations of its repetition were measured before, perhaps on another node"
Found: TypeAlias = tuple[Job, Measurement]


@dataclass(frozen=True)
class Hello:
    """The first reply of a slot."""

    fingerprint: Fingerprint


@dataclass(frozen=True)
class Lost:
    """The last reply of a slot: its node or worker ended, and with it what it measured."""

    why: str


Reply: TypeAlias = Hello | Measurement | Lost


class Slot(Protocol):
    """A node, or a share of it, that measures one cell at a time and does nothing else as long as it is held."""

    def fits(self, job: Job) -> bool:
        """Whether the slot has the devices that a job needs."""
        ...

    def lasts(self, seconds: float) -> bool:
        """Whether the slot can be held for so many seconds."""
        ...

    def begin(self, job: Job, work: Work) -> None:
        """Start to measure a cell, once the last one is done."""
        ...

    def poll(self) -> Reply | None:
        """The next reply, or None at once where there is none yet."""
        ...


class Cluster(Protocol):
    """Where slots come from."""

    @property
    def wait_s(self) -> float:
        """How long to wait for nodes where there is none."""
        ...

    @property
    def spent(self) -> bool:
        """Whether no slot can come any more, since every node was refused."""
        ...

    def open(self, wanted: int) -> Sequence[Slot]:
        """Open at most so many slots more, as far as there are nodes for them. Raises `UserError`."""
        ...

    def release(self, slot: Slot) -> None:
        """Close a slot; another may be opened in its place."""
        ...

    def refuse(self, slot: Slot) -> None:
        """Close a slot, and open none in its place any more."""
        ...


def reply_of(text: str) -> Reply:
    """The reply in a node's answer."""
    answer = json.loads(text)
    if "fingerprint" in answer:
        return Hello(typed(answer["fingerprint"], Fingerprint))
    return measurement_of(answer["row"]) if "row" in answer else Lost(answer["error"])


def threads_of(work: Work) -> int:
    """The most that a cell runs with."""
    return max((job.cell.threads for job in work.jobs), default=1)


@dataclass(eq=False)
class _Seat:
    """A slot with the unit and the job that it was given."""

    slot: Slot
    label: str = ""
    """Label of the slot's machine; empty until it has said what it is."""
    unit: deque[Job] = field(default_factory=deque)
    job: Job | None = None


class Pool:
    """The state of a run on a cluster."""

    def __init__(self, cluster: Cluster, work: Work) -> None:
        self.cluster, self.work = cluster, work
        self.waiting = _units(work.jobs)
        self.seats: list[_Seat] = []
        self.begun, self.homes = set(work.begun), dict(work.homes)
        self.timed: set[Hashable] = set()
        """Units of which something was timed."""
        self.tries: dict[Hashable, int] = {}
        self.refused = ""
        self.told = False
        self.active = time.monotonic()
        """Moment at which something was heard or begun for the last time."""
        self.revision = revision()

    def run(self) -> Generator[Found]:
        """Run all jobs, as `Backend.measure` says."""
        try:
            while self.waiting or any(seat.job or seat.unit for seat in self.seats):
                if self.work.stop.is_set() and not any(seat.job for seat in self.seats):
                    raise KeyboardInterrupt
                self._open()
                before = self.active
                for seat in list(self.seats):
                    yield from self._attend(seat)
                if self.active == before:
                    time.sleep(POLL_S)
        finally:
            for seat in self.seats:
                self.cluster.release(seat.slot)

    def _open(self) -> None:
        """Ask for nodes; raise when there are none, or none that will do, for too long."""
        now = time.monotonic()
        if not self.work.stop.is_set():
            unused = sum(not seat.job and self._is_of_use(seat) for seat in self.seats)
            self.seats += [_Seat(slot) for slot in self.cluster.open(len(self.waiting) - unused)]
        starting = any(not seat.label for seat in self.seats)
        if self.refused and not self.seats and self.cluster.spent:
            raise UserError(f"no node is left to measure on: {self.refused}")
        if not self.told and not any(seat.label for seat in self.seats) and now - self.active > PATIENCE_S:
            self.work.progress.warn("no node is free yet: waiting")
            self.told = True
        if starting or any(seat.job for seat in self.seats):
            return
        if now - self.active > self.cluster.wait_s:
            refused = f", and one was refused: {self.refused}" if self.refused else ""
            cell = self.waiting[0][0].cell.describe()
            raise UserError(f"for {self.cluster.wait_s:g} s there was no node for {cell}{refused}")

    def _is_of_use(self, seat: _Seat) -> bool:
        """Whether a slot without a job has not said yet what it is, or fits something that waits."""
        return not seat.label or any(seat.slot.fits(unit[0]) for unit in self.waiting)

    def _attend(self, seat: _Seat) -> Iterator[Found]:
        reply = seat.slot.poll()
        if reply is not None:
            self.active = time.monotonic()
        if isinstance(reply, Hello):
            self._welcome(seat, reply)
        elif isinstance(reply, Lost):
            yield from self._lost(seat, reply.why)
        elif reply is not None and seat.job:
            job, seat.job = seat.job, None
            unit = unit_of(job)
            warnings = [*reply.warnings, BEGUN] if reply.time and unit in self.begun else reply.warnings
            self.timed |= {unit} if reply.time else set()
            yield job, replace(reply, machine=seat.label, warnings=warnings)
        if seat in self.seats and seat.label and not seat.job and not self.work.stop.is_set():
            yield from self._employ(seat)

    def _welcome(self, seat: _Seat, hello: Hello) -> None:
        theirs = hello.fingerprint.metabench
        if theirs != self.revision:
            self._dismiss(seat, f"a node runs metabench {_revision(theirs)}, and here it is {_revision(self.revision)}")
            return
        summary = short_name(hello.fingerprint)
        seat.label = Environment(summary=summary, machine=hello.fingerprint).machine_label
        self.work.meet(Machine(seat.label, hello.fingerprint))

    def _employ(self, seat: _Seat) -> Iterator[Found]:
        """Give a slot the next cell of its unit, or of the next unit; where there is none, give the node back."""
        while job := self._next(seat):
            if skipped := self.work.failures.skip(job, seat.label):
                self.work.progress.began(job)
                yield job, replace(skipped, machine=seat.label)
                continue
            if not seat.slot.lasts(self.work.settings.time_limit_s):
                self._go_on_elsewhere(deque([job, *seat.unit]))
                self._dismiss(seat)
                return
            self.work.progress.began(job)
            seat.job, self.active = job, time.monotonic()
            seat.slot.begin(job, self.work)
            return
        if not self.waiting:
            self._dismiss(seat)

    def _next(self, seat: _Seat) -> Job | None:
        if not seat.unit and (unit := next((u for u in self.waiting if self._may_take(seat, u[0])), None)):
            self.waiting.remove(unit)
            if not unit[0].noise:
                self.homes[unit[0].cell.setting] = seat.label
            seat.unit = unit
        return seat.unit.popleft() if seat.unit else None

    def _may_take(self, seat: _Seat, job: Job) -> bool:
        """The rounds of a setting, and all that it is compared with, go to machines of one kind while there are any."""
        if not seat.slot.fits(job):
            return False
        home = None if job.noise else self.homes.get(job.cell.setting)
        return home in (None, seat.label) or not any(other.label in ("", home) for other in self.seats)

    def _lost(self, seat: _Seat, why: str) -> Iterator[Found]:
        """Hand the cell of a lost slot, and the rest of its unit, to another; a cell lost too often has crashed."""
        job, rest = seat.job, seat.unit
        self._dismiss(seat, "" if seat.label else f"a node could not be used: {why}")
        if job:
            self.tries[job.key] = self.tries.get(job.key, 0) + 1
            if self.tries[job.key] <= RETRIES:
                rest.appendleft(job)
                self.work.progress.lost(job)
            else:
                reason = f"the node or its worker was lost {RETRIES + 1} times while it was measured: {why}"
                yield job, replace(job.without("crashed", reason), machine=seat.label)
            self.work.progress.warn(f"a node was lost while it measured {job.cell.describe()}: {why}")
        if rest:
            self._go_on_elsewhere(rest)

    def _go_on_elsewhere(self, rest: deque[Job]) -> None:
        self.begun |= {unit_of(rest[0])} & self.timed
        self.waiting.insert(0, rest)

    def _dismiss(self, seat: _Seat, refused: str = "") -> None:
        """Give a slot back, for good if it is refused."""
        if refused:
            self.refused = refused
            self.work.progress.warn(refused)
            self.cluster.refuse(seat.slot)
        else:
            self.cluster.release(seat.slot)
        seat.unit = deque()
        self.seats.remove(seat)


def _units(jobs: Sequence[Job]) -> list[deque[Job]]:
    """Units of jobs that stay together, in the order of the jobs; last, by seeds, what trains alone."""
    units: dict[Hashable, deque[Job]] = {}
    for job in sorted(jobs, key=lambda job: (job.trains_alone, job.cell.seed if job.trains_alone else 0)):
        units.setdefault(unit_of(job), deque()).append(job)
    return list(units.values())


def _revision(found: Code | None) -> str:
    if found is None:
        return "of an unknown version"
    commit = f" at {found.commit[:8]}" if found.commit else ""
    return f"{found.version}{commit}{' and changes' if found.dirty else ''}"
