"""The contract of a backend, and the registry."""

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeAlias

from metabench.errors import UserError, unknown
from metabench.record.environment import Machine as Fingerprint
from metabench.record.measurement import Measurement
from metabench.registry import Registry
from metabench.sweep.checkpoints import FOLDER as CHECKPOINTS
from metabench.sweep.jobs import Failures, Job, Progress
from metabench.sweep.spec import Settings


@dataclass(frozen=True)
class Machine:
    """Machine that a row's figures are of."""

    label: str
    """Label that is equal for nodes of equal hardware and versions."""
    fingerprint: Fingerprint


def unit_of(job: Job) -> Hashable:
    """A key that is equal for jobs that must run on one node, one after the other.

    That is what ratios are formed of, the jobs of a setting in a round, and a pair of the noise configuration.
    """
    if job.noise:
        return "noise", job.noise.pair
    return ("alone", *job.key) if job.trains_alone else ("round", job.round, job.cell.setting)


@dataclass(frozen=True)
class Work:
    """Work that is left of a sweep."""

    jobs: Sequence[Job]
    """Jobs in the order in which one machine would take them."""
    settings: Settings
    data_dir: Path | None
    folder: Path
    """Folder of the run; a backend that needs files keeps them in a folder of its own within."""
    failures: Failures
    progress: Progress
    stop: Event
    """Event after which no job begins any more."""
    meet: Callable[[Machine], None] = lambda machine: None
    """Function that is told of each machine before its first row."""
    here: str = ""
    """The label of this machine, where that is where all cells run."""
    begun: frozenset[Hashable] = frozenset()
    """Units some of whose jobs were timed when a run was resumed."""
    homes: Mapping[Hashable, str] = field(default_factory=dict)
    """The label of the machine that has measured a setting before: further rounds belong there."""

    @property
    def checkpoints(self) -> Path:
        """Folder in which trainings are kept while they go on."""
        return self.folder / CHECKPOINTS


class Backend(Protocol):
    """A backend that is open: connected, if it has anything to connect to."""

    @property
    def name(self) -> str:
        """Name under which it is registered."""
        ...

    @property
    def cores(self) -> int:
        """How many threads a cell takes where its sweep does not say."""
        ...

    @property
    def remote(self) -> bool:
        """Whether cells run on machines that are not known before: then `Work.meet` is told of them."""
        ...

    def measure(self, work: Work) -> Generator[tuple[Job, Measurement]]:
        """Every job and what came of it, as it comes; the caller writes it down before it asks for the next.

        Whatever ends a cell becomes its measurement. Raises KeyboardInterrupt if jobs are left once `work.stop` is
        set and what ran has ended; `UserError` where no job can be measured any more. When the iterator is closed or
        anything is raised in it, all that still runs is ended, and nothing is left behind.
        """
        ...


Open: TypeAlias = Callable[[Any], AbstractContextManager[Backend]]


@dataclass(frozen=True)
class BackendKind:
    """A backend by name: `open(options)` raises `UserError` with what is missing."""

    summary: str
    options: type
    """A frozen dataclass whose fields, all with a default, are what `--backend-option` may set."""
    open: Open


BACKENDS: Registry[BackendKind] = Registry("backend", "metabench.sweep.backends", "metabench.backends")


def open_backend(name: str, texts: Iterable[str] = (), address: str = "") -> AbstractContextManager[Backend]:
    """A backend with options of the form key=value. Raises `UserError` for what is not known or not of its kind."""
    kind = BACKENDS.get(name)
    types = {f.name: type(f.default) for f in fields(kind.options)}
    given: dict[str, Any] = {}
    if address:
        if "address" not in types:
            raise UserError(f"backend '{name}' has no address: --address is for --backend ray")
        given["address"] = address
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--backend-option is key=value, not '{text}'")
        if key not in types and not types:
            raise UserError(f"backend '{name}' has no options: leave out --backend-option")
        if key not in types:
            raise unknown(f"option of backend {name}", key, types)
        if key in given:
            raise UserError(f"option '{key}' of backend {name} is given twice")
        given[key] = _value(f"option '{key}' of backend {name}", value, types[key])
    return kind.open(kind.options(**given))


def _value(what: str, text: str, wanted: type) -> Any:
    if wanted is bool:
        if text not in ("true", "false"):
            raise UserError(f"{what} is true or false, not '{text}'")
        return text == "true"
    if wanted is int:
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UserError(f"{what} is a whole number of 0 or more, not '{text}'")
        return int(text)
    if not text.isprintable() or text != text.strip() or not text:
        raise UserError(f"{what} is a word or two, not '{text}'")
    return text
