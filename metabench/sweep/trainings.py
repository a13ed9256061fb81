"""Trainings that several configurations of a run share: those that differ in how they are judged alone.

A run folder has a folder for each of them while the run goes on. The configuration that comes first trains, and keeps
its meta-parameters there, those at the end and those at each point of its curve. The others are judged by these. Where
nobody made the folder, each trains by itself.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from metabench.errors import UserError
from metabench.files import replacing
from metabench.record.cell import Cell
from metabench.record.quality import CurvePoint
from metabench.sweep.checkpoints import read_document, shapes
from metabench.tensors import Params
from metabench.training import Trained

KEPT, POINT, LOCK = "meta.pt", "after-{}.pt", "lock"


def begin(checkpoints: Path, cells: Iterable[Cell], left: Iterable[Cell]) -> None:
    """Make the folders of trainings that several of the cells share, and that cells which are left may need."""
    askers = Counter(cell.training_id for cell in cells if _may_share(cell))
    for cell in left:
        if _may_share(cell) and askers[cell.training_id] > 1:
            (checkpoints / cell.training_id).mkdir(parents=True, exist_ok=True)


def taken_over(cells: Iterable[Cell]) -> frozenset[str]:
    """Ids of those whose training another of the cells makes."""
    sharing = [(cell.id, cell.training_id) for cell in cells if _may_share(cell)]
    trainers = {training: name for name, training in reversed(sharing)}
    return frozenset(name for name, training in sharing if trainers[training] != name)


def end(checkpoints: Path) -> None:
    """Remove what `begin` made: all cells are done."""
    for folder in checkpoints.glob("*/"):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # there is none, or a training that goes on later is in it
        checkpoints.rmdir()


def _may_share(cell: Cell) -> bool:
    return "quality" in cell.measure and cell.world_size == 1


@dataclass(frozen=True)
class Training:
    """The training of a cell, where others may share it."""

    folder: Path
    cell: Cell
    facts: Mapping[str, str]
    """What it depends on beside the cell; what was kept under others is trained anew."""

    def found_or(self, train: Callable[[], Trained], meta: Params) -> tuple[Trained, str | None]:
        """The training that another cell has kept, with the id of that cell; else what `train` gives, which is kept.

        `meta` are meta-parameters of the same names and shapes. The curve of a found training comes without values:
        the cell that finds it judges its points. A cell waits for one that trains at the same time.
        """
        from filelock import FileLock

        with FileLock(self.folder / LOCK):
            if found := self._found(meta):
                return found
            trained = train()
            self._keep(trained)
            return trained, None

    def keep_point(self, iteration: int, meta: Params) -> None:
        """Keep the meta-parameters of a point of the curve, for the others' curves."""
        self._write(POINT.format(iteration), meta)

    def point(self, iteration: int, meta: Params) -> Params | None:
        """The meta-parameters after so many iterations of what was found; None where they were not kept."""
        try:
            kept: Params = self._read(POINT.format(iteration), meta)["meta"]
        except Exception:  # they are not there, or damaged in whatever way
            return None
        return kept

    def _found(self, meta: Params) -> tuple[Trained, str] | None:
        try:
            document = self._read(KEPT, meta)
            curve = [CurvePoint(iteration, seconds, loss) for iteration, seconds, loss in document["curve"]]
            return Trained(document["meta"], float(document["seconds"]), curve), str(document["by"])
        except Exception:  # it is not there yet, or damaged in whatever way: it is trained anew
            return None

    def _keep(self, trained: Trained) -> None:
        curve = [(point.iteration, point.seconds, point.loss) for point in trained.curve]
        self._write(KEPT, trained.meta, seconds=trained.seconds, by=self.cell.id, curve=curve)

    def _write(self, name: str, meta: Params, **more: object) -> None:
        """Write meta-parameters to a file; where that is refused, the others do without."""
        document = {"meta": {n: p.detach().clone() for n, p in meta.items()}, "facts": dict(self.facts), **more}
        with suppress(UserError, OSError), replacing(self.folder / name) as stream:
            torch.save(document, stream)

    def _read(self, name: str, meta: Params) -> dict[str, Any]:
        """What is in a file. Raises ValueError for what is not of this training, and what `read_document` raises."""
        document = read_document(self.folder / name, next(iter(meta.values())).device)
        if document["facts"] != dict(self.facts) or shapes(document["meta"]) != shapes(meta):
            raise ValueError("another training")
        return document
