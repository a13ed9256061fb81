"""Trainings that several configurations of a run share: those that differ in how they are judged alone.

A run folder has a folder for each of them while the run goes on. The configuration that comes first trains, and keeps
its meta-parameters there; the others are judged by these. Where nobody made the folder, each trains by itself.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from metabench.errors import UserError
from metabench.files import replacing
from metabench.record.cell import Cell
from metabench.sweep.checkpoints import read_document
from metabench.tensors import Params
from metabench.training import Trained

KEPT, LOCK = "meta.pt", "lock"


def begin(checkpoints: Path, cells: Iterable[Cell], left: Iterable[Cell]) -> None:
    """Make the folders of trainings that several of the cells share, and that cells which are left may need."""
    askers = Counter(cell.training_id for cell in cells if _may_share(cell))
    for cell in left:
        if _may_share(cell) and askers[cell.training_id] > 1:
            (checkpoints / cell.training_id).mkdir(parents=True, exist_ok=True)


def taken_over(cells: Iterable[Cell]) -> frozenset[str]:
    """Ids of those whose training another of the cells makes."""
    sharing = [cell for cell in cells if _may_share(cell)]
    trainers = {cell.training_id: cell.id for cell in reversed(sharing)}
    return frozenset(cell.id for cell in sharing if trainers[cell.training_id] != cell.id)


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

        `meta` are meta-parameters of the same names and shapes. What is kept has no curve: its points were judged as
        the other cell is. A cell waits for one that trains at the same time.
        """
        from filelock import FileLock

        with FileLock(self.folder / LOCK):
            if found := self._found(meta):
                return found
            trained = train()
            self._keep(trained)
            return trained, None

    def _found(self, meta: Params) -> tuple[Trained, str] | None:
        like = next(iter(meta.values()))
        try:
            document = read_document(self.folder / KEPT, like.device)
            kept: Params = document["meta"]
            alike = [(n, p.shape, p.dtype) for n, p in kept.items()] == [(n, p.shape, p.dtype) for n, p in meta.items()]
            if not alike or document["facts"] != dict(self.facts):
                return None
            return Trained(kept, float(document["seconds"]), []), str(document["by"])
        except Exception:  # it is not there yet, or damaged in whatever way: it is trained anew
            return None

    def _keep(self, trained: Trained) -> None:
        meta = {name: p.detach().clone() for name, p in trained.meta.items()}
        document = {"meta": meta, "seconds": trained.seconds, "by": self.cell.id, "facts": dict(self.facts)}
        with suppress(UserError, OSError), replacing(self.folder / KEPT) as stream:  # the others then train, too
            torch.save(document, stream)
