"""The images of a folder of class folders, by name: which there are, in which class, and whether they have changed."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metabench.errors import UserError

JUNK = ("Thumbs.db", "desktop.ini", "__MACOSX")
"""What a desktop leaves in folders, beside names that begin with a dot."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of some classes, in canonical order. Nothing of them is read yet."""

    name: str
    """What the data is called in tables: the name of the folder, without the path to it."""
    folder: Path
    classes: tuple[str, ...]
    """The folder of each class, relative to `folder`: `robin`, or `Greek/alpha` in groups."""
    groups: tuple[str, ...]
    """The group of each class; empty texts where classes stand in no groups."""
    files: tuple[str, ...]
    """The file of each image, relative to `folder`."""
    labels: tuple[int, ...]
    """The class of each image, a place in `classes`."""

    @cached_property
    def stamp(self) -> str:
        """SHA-256 of where the files are, of their names, sizes and times: another one once a file has changed.

        Raises `UserError` for a file that cannot be looked at.
        """
        digest = hashlib.sha256(f"{self.folder}\0".encode())
        for name in self.files:
            try:
                seen = (self.folder / name).stat()
            except OSError as error:
                raise UserError(f"cannot read '{self.shown(name)}': {error.strerror}") from None
            digest.update(f"{name}\0{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}\0".encode())
        return digest.hexdigest()

    def shown(self, name: str) -> str:
        """A file or class as messages name it, without the path of any machine."""
        return f"{self.name}/{name}"


def listed(folder: Path, grouped: bool = False) -> Listing:
    """The images of `folder/CLASS/IMAGE`, or of `folder/GROUP/CLASS/IMAGE`.

    Hidden files are passed over. Raises `UserError` for anything else that is no image in a class folder: nothing is
    left out in silence.
    """
    name = folder.name
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}': path names the folder that holds the class folders")
    form = f"{name}/{'GROUP/' if grouped else ''}CLASS/IMAGE"
    groups = list(_folders(folder, name, form)) if grouped else [""]
    found = [
        (group, f"{group}/{each}" if group else each)
        for group in groups
        for each in _folders(folder / group, f"{name}/{group}".rstrip("/"), form)
    ]
    classes = tuple(each for _, each in found)
    files, labels = [], []
    for label, each in enumerate(classes):
        images = _images(folder / each, f"{name}/{each}")
        files += [f"{each}/{image}" for image in images]
        labels += [label] * len(images)
    return Listing(name, folder.resolve(), classes, tuple(group for group, _ in found), tuple(files), tuple(labels))


def _folders(folder: Path, shown: str, form: str) -> Iterator[str]:
    """The names of the folders in a folder, in order; raises `UserError` for an image, or if there are none."""
    entries = _entries(folder, shown)
    if stray := next((each.name for each in entries if not each.is_dir() and _is_image(each.name)), None):
        raise UserError(f"'{shown}/{stray}' is an image in no class folder: the images must stand in {form}")
    names = [each.name for each in entries if each.is_dir()]
    if not names:
        raise UserError(f"'{shown}' holds no folders: the images must stand in {form}")
    yield from names


def _images(folder: Path, shown: str) -> list[str]:
    """The names of the images in a class folder, in order."""
    entries = _entries(folder, shown)
    if not entries:
        raise UserError(f"class folder '{shown}' is empty: take it out, or put its images in")
    for each in entries:
        if each.is_dir():
            raise UserError(
                f"class folder '{shown}' holds a folder, '{each.name}': for images in groups of classes add "
                'split = "groups", and for folders train, val and test split = "folders"'
            )
        if not _is_image(each.name):
            raise UserError(f"'{shown}/{each.name}' is of no type of image that Pillow reads: take it out")
    return [each.name for each in entries]


def _entries(folder: Path, shown: str) -> list[os.DirEntry[str]]:
    """What stands in a folder and is not hidden, by name. Links are followed."""
    try:
        with os.scandir(folder) as found:
            entries = [each for each in found if not each.name.startswith(".") and each.name not in JUNK]
    except OSError as error:
        raise UserError(f"cannot read the folder '{shown}': {error.strerror}") from None
    for each in entries:
        if not each.name.isprintable():
            raise UserError(f"'{shown}' holds a name with characters that cannot be shown: rename {each.name!r}")
    return sorted(entries, key=lambda each: each.name)


def _is_image(name: str) -> bool:
    from PIL import Image

    return Path(name).suffix.lower() in Image.registered_extensions()
