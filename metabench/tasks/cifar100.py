"""CIFAR-100 (Krizhevsky 2009) with the splits of few-shot learning: CIFAR-FS and FC100.

Sources, in this order: the folder given by `path`, `data_dir` or METABENCH_DATA, as torchvision leaves it there; the
prepared cache file; torchvision's download. torchvision holds every file to its MD5.
"""

import hashlib
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from metabench.errors import UserError
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource
from metabench.tasks.download import DataMissing, downloaded
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.image_set import ImageSet, image_set
from metabench.tasks.kept_set import kept
from metabench.tasks.places import given
from metabench.tasks.published import published

NAMES = ("cifar-fs", "fc100")
FOLDER = "cifar-100-python"
"""What torchvision calls the folder of CIFAR-100."""
CACHED = "cifar-100"
DOWNLOAD_SECONDS = 900.0
"""Most that the download may take: it has 169 MB."""
_DOWNLOAD = "import sys; from torchvision.datasets import CIFAR100; CIFAR100(sys.argv[1], download=True)"


def build(name: str, shape: EpisodeShape, data_dir: Path | None, path: str = "") -> ImageSetTasks:
    """Episodes of CIFAR-100 by the split called `name`.

    Raises `DataMissing` when CIFAR-100 cannot be had, `UserError` when a folder that is given does not hold it.
    """
    split = published(name)
    images = _named(split.title, _found(_root(data_dir, path)))
    return ImageSetTasks(images, split.splits, shape, split.details)


def _root(data_dir: Path | None, path: str) -> Path | None:
    """The folder that holds `FOLDER`; None where none is given, or where the folder of all data has none."""
    folder = given(path, data_dir)
    if folder is None:
        return None
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}', which should hold CIFAR-100")
    places = (folder.parent if folder.name == FOLDER else folder, *sorted(p for p in folder.iterdir() if p.is_dir()))
    found = next((place for place in places if (place / FOLDER).is_dir()), None)
    if found is None and path:
        raise UserError(f"'{folder}' does not hold CIFAR-100: expected the folder {FOLDER} of torchvision in it")
    return found


def _found(root: Path | None) -> ImageSet:
    """CIFAR-100 from the cache, or else from `root`, or else by a download."""
    return kept(CACHED, lambda: read(root, "torchvision's files") if root else _fetch())


@cache
def _named(title: str, images: ImageSet) -> ImageSet:
    """The images under the name of a split; training and held-out tasks share them on each device."""
    return replace(images, name=title)


def read(root: Path, origin: str) -> ImageSet:
    """Training and test images of CIFAR-100 together; raises `UserError` for files that are not torchvision's."""
    from torchvision.datasets import CIFAR100

    try:
        parts = [CIFAR100(str(root), train=train) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"'{root / FOLDER}' is not CIFAR-100 as torchvision downloads it: a file is missing or has another MD5"
        ) from error
    images = np.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
    labels = np.concatenate([np.asarray(part.targets) for part in parts])
    pixels = np.ascontiguousarray(images)
    files = " ".join(md5 for _, md5 in (*CIFAR100.train_list, *CIFAR100.test_list))
    source_hash = hashlib.sha256(files.encode()).hexdigest()
    return image_set("CIFAR-100", origin, pixels, labels, parts[0].classes, source_hash)


def _fetch() -> ImageSet:
    """torchvision's download."""
    from torchvision.datasets import CIFAR100

    try:
        with downloaded("CIFAR-100", CIFAR100.url, _DOWNLOAD, DOWNLOAD_SECONDS) as folder:
            return read(folder, "torchvision's download")
    except DataMissing as reason:
        raise DataMissing(
            f"no CIFAR-100 ({reason}): give path, --data-dir or METABENCH_DATA a folder that holds {FOLDER}"
        ) from reason.__cause__


for _name in NAMES:
    TASKS.register(_name)(TaskSource("classification", partial(build, _name), axes=("path",), input_shape=(3, 32, 32)))
