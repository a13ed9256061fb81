"""Image sets that were drawn or unpacked once, each in one verified file of the cache."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from metabench.files import MEBIBYTE, check_plain, make_cache_dir, replacing
from metabench.tasks.image_set import ImageSet, image_set
from metabench.tasks.packed import DAMAGE

MOST_BYTES = 1024 * MEBIBYTE
"""Most bytes of a file, five times those of CIFAR-100."""
TEXTS = ("name", "origin", "source_hash", "pixel_hash")


def kept(name: str, make: Callable[[], ImageSet]) -> ImageSet:
    """The image set in the file of that name; else what `make` makes, which is then kept.

    A file that is damaged is made anew. Processes that ask at the same time make it once: the others wait. Raises
    `UserError` where the cache cannot be written to.
    """
    from filelock import FileLock

    path = make_cache_dir() / f"{name}.npz"
    with FileLock(path.with_suffix(".lock")):
        if (found := _load(path)) is None:
            made = make()
            _save(made, path)
            found = _load(path) or made
    return found


def _load(path: Path) -> ImageSet | None:
    """The image set of a file; None where there is none, or not what was written.

    A process reads the same file once: what is trained and what is tested on then share their pixels on each device.
    """
    try:
        check_plain(path, MOST_BYTES)
        seen = path.stat()
    except FileNotFoundError:
        return None
    return _read(path, (seen.st_ino, seen.st_mtime_ns, seen.st_size))


@lru_cache(maxsize=2)
def _read(path: Path, version: tuple[int, ...]) -> ImageSet | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > MOST_BYTES:
                return None
            name, origin, source_hash, pixel_hash = (str(archive[text]) for text in TEXTS)
            parts = archive["images"], archive["labels"], archive["classes"].tolist()
            found = image_set(name, origin, *parts, source_hash)
    except DAMAGE:
        return None
    return found if found.pixel_hash == pixel_hash else None


def _save(images: ImageSet, path: Path) -> None:
    arrays: dict[str, Any] = {text: np.array(getattr(images, text)) for text in TEXTS}
    arrays |= {"images": images.images.numpy(), "labels": images.labels.numpy(), "classes": np.array(images.classes)}
    with replacing(path) as stream:
        np.savez(stream, **arrays)
