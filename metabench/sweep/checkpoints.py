"""Trainings in the middle: a file for each in a run folder, by which one that was ended goes on where it was.

Beside it, while the training runs, a small file says how far it is. Both are gone once the row is recorded.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metabench.engines.base import OuterState
from metabench.engines.distributed import Group
from metabench.errors import UserError
from metabench.files import check_plain, replacing
from metabench.machine.fingerprint import processor_model
from metabench.record.quality import CurvePoint
from metabench.sweep.training_code import code_facts
from metabench.tasks.stream import Stream
from metabench.tensors import Params
from metabench.training import Midway

FOLDER = "checkpoints"
"""Folder within the run folder."""
MOST_BYTES = 1 << 34
SHARE = 0.01
"""Share of a training's time that saving it may take: where that is slow, it is done less often."""
TELL_S = 5.0
"""How often a training says how far it is."""
WORDS = {
    "code": "the code of metabench that trains",
    "sources": "a file of your own",
    "torch": "torch",
    "library": "the engine's library",
    "threads": "the number of threads",
    "device": "the machine",
    "data": "the data",
    "curve_points": "the number of points of the curve",
}
"""What a training depends on beside its configuration, and how it is called."""


class Pace(NamedTuple):
    """How far a training is."""

    done: int
    iterations: int
    first: int
    """Iterations that were done when its process began."""
    seconds: float
    """Seconds since its process began to train."""

    @property
    def left(self) -> float:
        """Seconds that its iterations take from now on, as quick as they were."""
        return (self.iterations - self.done) * self.seconds / max(1, self.done - self.first)


@dataclass(frozen=True)
class Place:
    """Where a cell's training is kept, and how often."""

    folder: Path
    name: str
    every_s: float

    @property
    def saved(self) -> Path:
        """The file of the training."""
        return self.folder / f"{self.name}.pt"

    @property
    def told(self) -> Path:
        """The file that says how far it is."""
        return self.folder / f"{self.name}.json"


def pace_of(folder: Path, name: str) -> Pace | None:
    """How far the training of a cell is that is running; None where that is not known."""
    try:
        found = Pace(**json.loads(Place(folder, name, 0).told.read_text(encoding="utf-8")))
        return found if math.isfinite(found.left) and 0 <= found.first < found.done <= found.iterations else None
    except (OSError, ValueError, TypeError):
        return None


def is_kept(folder: Path, name: str) -> bool:
    """Whether a cell has a training that can be gone on with."""
    return Place(folder, name, 0).saved.is_file()


def changed_since(folder: Path, name: str) -> str:
    """What has changed in metabench and torch since a cell's training was saved, so that it will begin anew.

    Empty where nothing has, where no training is kept, and where the file cannot be read: its process says so then.
    """
    try:
        saved = read_document(Place(folder, name, 0).saved, torch.device("cpu"))["depends_on"]
        changed = [WORDS[fact] for fact, now in code_facts().items() if fact != "sources" and saved.get(fact) != now]
    except Exception:  # whatever a damaged file makes of it
        return ""
    return " and ".join(changed)


def tidy(folder: Path, name: str, goes_on: bool) -> None:
    """Remove what is kept of a cell whose row is recorded, but for a training that goes on later.

    The folder goes with the last of them.
    """
    place = Place(folder, name, 0)
    with suppress(OSError):  # another training's files are in it, or there is none
        place.told.unlink(missing_ok=True)
        if not goes_on:
            place.saved.unlink(missing_ok=True)
        folder.rmdir()


def forget_paces(folder: Path) -> None:
    """Remove what processes said of trainings before they were ended with their run."""
    for file in folder.glob("*.json"):
        with suppress(OSError):
            file.unlink()


class Checkpoint:
    """The file of one training; see `metabench.training.Checkpoint`.

    Where several processes train together, the leading one saves, and all of them go on from what it saved.
    """

    def __init__(
        self,
        place: Place,
        kept: Mapping[str, str],
        tasks: Stream,
        meta: Params,
        iterations: int,
        say: Callable[[str], object],
        group: Group | None = None,
    ) -> None:
        """`kept` are facts that the training depends on, by the names of `WORDS`; those of the process are added."""
        self.place, self.tasks, self.meta, self.iterations, self.say = place, tasks, meta, iterations, say
        self.group, self._facts = group, kept
        self.resumed_at: list[int] = []
        """Iterations after which the training was gone on with."""
        self._begin = time.monotonic()
        self._first = 0
        self._next_told, self._next_save = self._begin + TELL_S, self._begin + place.every_s
        self._saves = False

    @cached_property
    def depends_on(self) -> dict[str, str]:
        """What the training depends on beside its configuration."""
        like = next(iter(self.meta.values()))
        return {
            **code_facts(),
            "threads": str(torch.get_num_threads()),
            "device": _name_of(like.device),
            **self._facts,
        }

    def load(self) -> Midway | None:
        """The training as it was saved last, where it can be gone on with; else it is said why not."""
        found = self._read()
        if self.group and not self.group.agree(found is not None):
            found = None
        if found is None:
            return None
        midway, tasks, resumed_at = found
        self.tasks.go_to(tasks)
        self.resumed_at, self._first = [*resumed_at, midway.done], midway.done
        return midway

    def due(self, done: int) -> bool:
        """Whether to save after so many iterations: at even intervals, and at the end of what takes longer."""
        now = time.monotonic()
        if (self.group and not self.group.rank.leads) or (
            now < min(self._next_told, self._next_save) and not self._ends(done)
        ):
            return False
        if now >= self._next_told:
            self._tell(done, now)
        return now >= self._next_save or self._ends(done)

    def save(self, midway: Midway) -> None:
        """Write the file anew; where that is refused, it is said, and not tried again."""
        begin = time.monotonic()
        outer = midway.outer
        document = {
            "depends_on": self.depends_on,
            "done": midway.done,
            "seconds": midway.seconds,
            "curve": [(point.iteration, point.seconds, point.loss, point.value) for point in midway.curve],
            "meta": outer.meta,
            "means": outer.means,
            "squares": outer.squares,
            "updates": outer.updates,
            "tasks": self.tasks.state,
            "resumed_at": self.resumed_at,
        }
        try:
            self.place.folder.mkdir(exist_ok=True)
            with replacing(self.place.saved) as stream:
                torch.save(document, stream)
        except (UserError, OSError) as error:
            self.say(f"the training is not kept while it goes on: {error}")
            self._next_save, self._saves = math.inf, False
            return
        now = time.monotonic()
        self._next_save, self._saves = now + max(self.place.every_s, (now - begin) / SHARE), True

    def _ends(self, done: int) -> bool:
        """Whether it is the end of a training that was saved before: what comes after it may take long, too."""
        return done == self.iterations and self._saves

    def _tell(self, done: int, now: float) -> None:
        self._next_told = now + TELL_S
        self.depends_on  # noqa: B018 (read now: files may change while the training goes on)
        pace = Pace(done, self.iterations, self._first, now - self._begin)
        part = self.place.told.with_suffix(".part")
        try:
            self.place.folder.mkdir(exist_ok=True)
            part.write_text(json.dumps(pace._asdict()), encoding="utf-8")
            part.replace(self.place.told)
        except OSError:  # nobody but a reader of progress misses it
            self._next_told = math.inf

    def _read(self) -> tuple[Midway, Tensor, list[int]] | None:
        with suppress(OSError):
            self.place.told.unlink(missing_ok=True)
        if not self.place.saved.is_file():
            return None
        like = next(iter(self.meta.values()))
        try:
            document = read_document(self.place.saved, like.device)
            other = [word for name, word in WORDS.items() if self._differs(document["depends_on"], name)]
            if other:
                self._begins_anew(f"{' and '.join(other)} changed since it was saved")
                return None
            return self._checked(document), document["tasks"].cpu(), document["resumed_at"]
        except Exception as error:  # whatever a damaged file makes of it
            self._begins_anew(f"its checkpoint is damaged ({type(error).__name__})")
            return None

    def _differs(self, found: Mapping[str, str], name: str) -> bool:
        return found.get(name) != self.depends_on.get(name)

    def _checked(self, document: Mapping[str, Any]) -> Midway:
        """The training in a document. Raises ValueError for what is not of this one."""
        outer = OuterState(document["meta"], document["means"], document["squares"], document["updates"])
        for params in filter(None, (outer.meta, outer.means, outer.squares)):
            if shapes(params) != shapes(self.meta):
                raise ValueError("other meta-parameters")
        if not 0 < document["done"] <= self.iterations or document["tasks"].dtype != torch.uint8:
            raise ValueError("another training")
        curve = [CurvePoint(*point) for point in document["curve"]]
        return Midway(document["done"], outer, document["seconds"], curve)

    def _begins_anew(self, why: str) -> None:
        if self.group is None or self.group.rank.leads:
            self.say(f"a training that had been ended began anew: {why}")


def read_document(file: Path, device: torch.device) -> dict[str, Any]:
    """What is kept in a file, tensors on that device. Raises what torch makes of a damaged file; runs nothing of it."""
    check_plain(file, MOST_BYTES)
    found: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    return found


def shapes(params: Params) -> list[tuple[str, torch.Size, torch.dtype]]:
    """What parameters have in common that can take each other's place."""
    return [(name, p.shape, p.dtype) for name, p in params.items()]


def _name_of(device: torch.device) -> str:
    """What computes: two of the same name give the same bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_model()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
