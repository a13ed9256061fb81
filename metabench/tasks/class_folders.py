"""The task `images`: episodes of a user's own images, which stand in a folder for each class."""

from pathlib import Path

from metabench import sources
from metabench.errors import UserError, nearest
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource
from metabench.tasks.decoding import decoded, first_shape
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.listing import listed
from metabench.tasks.places import at, folders_in
from metabench.tasks.splitting import RULES, is_grouped, split_by

NAME = "images"


def build(
    shape: EpisodeShape, data_dir: Path | None, path: str = "", split: str = "classes", image_size: int = 0
) -> ImageSetTasks:
    """Episodes of the images in the class folders of `path`; `data_dir` is not used."""
    listing = listed(_folder(path), is_grouped(split))
    splits, how = split_by(split, listing, sources.folder())
    images, details = decoded(listing, image_size)
    return ImageSetTasks(images, splits, shape, {"split_by": how, **details})


def peek(path: str = "", split: str = "classes", image_size: int = 0) -> tuple[int, int, int]:
    """The shape of an image by the first one alone: of others, its size or its colours may differ."""
    return first_shape(listed(_folder(path), is_grouped(split)), image_size)


def _folder(path: str) -> Path:
    if not path:
        raise UserError(
            f"task '{NAME}' needs a path, the folder that holds a folder of images for each class: "
            'path = "birds" in a sweep, or --path birds'
        )
    folder = at(path)
    if not folder.is_dir():
        try:
            beside = [each.name for each in folders_in(folder.parent)]
        except OSError:
            beside = []
        raise UserError(f"unknown folder '{path}': {nearest(folder.name, beside)}")
    return folder


TASKS.register(NAME)(TaskSource("classification", build, axes=("path", "split", "image_size"), splits=RULES, peek=peek))
