"""Data sets that a user has in a folder, each with its published split: miniImageNet, tieredImageNet and CUB.

A folder whose classes, number of images or file names are not those of the data set is refused, so that no figure bears
the name of data that it was not measured on.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from metabench.errors import UserError
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource
from metabench.tasks.decoding import decoded
from metabench.tasks.download import DataMissing
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.listing import Listing, listed
from metabench.tasks.places import folders_in, given
from metabench.tasks.published import Published, check, published

NAMES = ("miniimagenet", "tieredimagenet", "cub")
PARTS = frozenset({"train", "val", "validation", "test"})
"""Folders of the parts of a split, in which class folders may stand. The published lists say what is in which part."""
WORDNET_ID = 9
"""Characters of a WordNet id, such as n01532829, with which file names of ImageNet begin."""


def build(name: str, shape: EpisodeShape, data_dir: Path | None, path: str = "", image_size: int = 0) -> ImageSetTasks:
    """Episodes of the data set called `name`, from `path`, or else from the folder of all data.

    Raises `DataMissing` where no folder is given or it holds nothing of the data set, and `UserError` for a folder that
    holds something else.
    """
    split = published(name)
    listing = find(split, data_dir, path)
    check(split, listing)
    images, details = decoded(listing, image_size or split.side)
    return ImageSetTasks(images, split.splits, shape, {**split.details, **details})


def find(split: Published, data_dir: Path | None, path: str) -> Listing:
    """The images of the data set, wherever in the folder they stand; nothing is read yet."""
    folder = given(path, data_dir)
    if folder is None:
        raise DataMissing(
            f"no {split.title}: metabench does not download it; give its folder, as path in a sweep, --data-dir or "
            "METABENCH_DATA"
        )
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}', which should hold {split.title}")
    for place in _places(folder):
        if found := _listing(split, place):
            return found
    absent = UserError if path else DataMissing
    raise absent(
        f"'{folder}' holds no {split.title}: its class folders, such as {min(split.classes)}, are neither there nor "
        f"one level below{'' if path else '; path names another folder'}"
    )


def _places(folder: Path) -> Iterator[Path]:
    """Where class folders may stand: in the folder, in its folder `images`, and in those of its folders."""
    try:
        below = folders_in(folder)
    except OSError as error:
        raise UserError(f"the folder '{folder}' cannot be read: {error.strerror}") from error
    for place in (folder, folder / "images", *below, *(child / "images" for child in below)):
        if place.is_dir():
            yield place


def _listing(split: Published, place: Path) -> Listing | None:
    """The images of a folder of class folders, of parts with class folders, or of files that begin with their class."""
    with os.scandir(place) as entries:
        names = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    folders = {name for name, is_dir in names.items() if is_dir}
    if folders & split.classes:
        found = listed(place)
        return _ordered(split, place, [(found.classes[label], file) for file, label in _images(found)])
    if folders and folders <= PARTS:
        found = listed(place, grouped=True)
        return _ordered(split, place, [(file.split("/")[1], file) for file, _ in _images(found)])
    flat = [name for name, is_dir in names.items() if not is_dir and name[:WORDNET_ID] in split.classes]
    return _ordered(split, place, [(name[:WORDNET_ID], name) for name in flat]) if flat else None


def _images(listing: Listing) -> Iterator[tuple[str, int]]:
    return zip(listing.files, listing.labels, strict=True)


def _ordered(split: Published, place: Path, images: list[tuple[str, str]]) -> Listing:
    """(class, file) as a listing in one order, however the folder is arranged, so that a seed draws the same tasks."""
    images = sorted(images, key=lambda image: (image[0], image[1].rpartition("/")[2]))
    classes = tuple(sorted({name for name, _ in images}))
    number = {name: label for label, name in enumerate(classes)}
    files, labels = tuple(file for _, file in images), tuple(number[name] for name, _ in images)
    return Listing(split.title, place.resolve(), classes, ("",) * len(classes), files, labels)


for _name in NAMES:
    TASKS.register(_name)(
        TaskSource("classification", partial(build, _name), axes=("path", "image_size"), input_shape=(3, 84, 84))
    )
