"""Published splits of data sets: their classes, and the check that images are those of the data set."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache, cached_property

import msgspec

from metabench.errors import UserError
from metabench.files import DATA, MEBIBYTE, as_struct, read_toml
from metabench.tasks.base import SPLITS, Split
from metabench.tasks.listing import Listing

SHOWN = 3
"""Classes that a message names."""


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A data set with a split that papers use. It comes from a file of `metabench/data/splits`."""

    title: str
    """What it is called in tables."""
    source: str
    """The paper that published the split, and its address."""
    defined: str
    """What it is, in words."""
    images: int
    """How many images it has."""
    side: int
    """Pixels of a side of its images, where no other size is asked for."""
    files: tuple[str, ...]
    """SHA-256 of the sorted file names without their ends, as any of its published lists has them; empty where no list
    names files."""
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def splits(self) -> Mapping[Split, tuple[str, ...]]:
        """The classes of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def classes(self) -> frozenset[str]:
        """All classes."""
        return frozenset((*self.train, *self.validation, *self.test))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of what defines the split: the sorted classes of each of its parts, and the names of files."""
        lines = [f"{split} {name}" for split in SPLITS for name in sorted(self.splits[split])]
        return _hash([*lines, *self.files])

    @property
    def details(self) -> dict[str, str]:
        """What provenance says of the split."""
        return {"split_by": f"the published split: {self.source}", "split_hash": self.content_hash}


@cache
def published(name: str) -> Published:
    """The published split of a task of the suite."""
    _, table = read_toml(DATA / "splits" / f"{name}.toml", MEBIBYTE, "split")
    return as_struct(table, Published, "field of a split")


def check(split: Published, listing: Listing) -> None:
    """Raise `UserError` unless the images are those of the data set, as far as its published lists can tell."""
    missing, others = split.classes - set(listing.classes), set(listing.classes) - split.classes
    faults = []
    if missing:
        faults.append(f"it lacks {len(missing)} of the {len(split.classes)} classes ({_some(missing)})")
    if others:
        faults.append(f"it has {len(others)} that are none of them ({_some(others)})")
    if not faults and len(listing.files) != split.images:
        faults.append(f"it has {len(listing.files):,} images, not {split.images:,}")
    if not faults and split.files and _stems(listing.files) not in split.files:
        faults.append("its files do not have the names of the published list, so that they may be other images")
    if faults:
        raise UserError(
            f"'{listing.folder}' does not hold {split.title}: {' and '.join(faults)}; "
            'task = "images" takes it under its own name'
        )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:SHOWN]) + (", …" if len(ordered) > SHOWN else "")


def _stems(files: Iterable[str]) -> str:
    """SHA-256 of the names of files without their folders and ends."""
    return _hash(sorted(file.rpartition("/")[2].rpartition(".")[0] for file in files))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
