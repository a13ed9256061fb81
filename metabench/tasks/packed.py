"""Packed character images: many small drawings in one verified cache file."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from metabench.errors import UserError
from metabench.files import MEBIBYTE, cache_dir, check_plain, make_cache_dir, replacing

if TYPE_CHECKING:  # Pillow is loaded where it is used: importing a task distribution must be cheap
    from PIL.Image import Image

DRAWINGS = 20
"""Drawings of each character, as in Omniglot."""
DRAWN_SIDE = 105
"""Side in pixels of a drawing as its writer made it."""
SIDE = 28
"""Side in pixels of a packed image."""
QUARTERS = 4
"""Orientations of an image: multiples of 90 degrees."""
MOST_BYTES = 256 * MEBIBYTE
"""Most bytes of the arrays in a cache file, ten times those of Omniglot."""
FORMAT = 1
"""Version of the cache file; another version is not read."""

DAMAGE = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What a damaged zip of arrays is noticed by: it depends on which byte is wrong."""


@dataclass(frozen=True, eq=False)
class PackedImages:
    """All drawings of a set of characters, in canonical order, with the hashes that identify them. Made by `pack`."""

    name: str
    """What the data is called in tables."""
    origin: str
    """How it was come by, in a few words and with no path of any machine."""
    images: torch.Tensor
    """uint8 (characters, DRAWINGS, SIDE, SIDE); ink is 255, paper 0."""
    alphabets: tuple[str, ...]
    """The alphabet of each character."""
    characters: tuple[str, ...]
    """The name of each character; (alphabet, name) is unique."""
    source_hash: str
    """SHA-256 of what the images were made from; the same whatever library decoded or drew it."""
    pixel_hash: str
    """SHA-256 of `images`, in row-major order."""
    _turned: dict[torch.device, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def turned(self, device: torch.device) -> torch.Tensor:
        """All drawings in all orientations on that device: uint8 (QUARTERS * characters * DRAWINGS, SIDE * SIDE).

        First all of them upright, then all turned by one quarter counter-clockwise, and so on. Made at the first call
        for a device and kept; of Omniglot it takes 102 MB. So an image of a task is one row, whatever its orientation:
        on a processor, turning the images of each task takes several times as long as all else about it.
        """
        if device not in self._turned:
            pixels = self.images.to(device)
            every = torch.stack([torch.rot90(pixels, quarter, (2, 3)) for quarter in range(QUARTERS)])
            self._turned[device] = every.view(-1, SIDE * SIDE)
        return self._turned[device]


@dataclass(frozen=True)
class DataStatus:
    """What is known of a data set without preparing or downloading anything."""

    name: str
    cache_file: Path
    prepared: bool
    source: str
    """Where the prepared data came from; else where it would be prepared from."""
    characters: int = 0
    source_hash: str = ""
    pixel_hash: str = ""
    splits: str = ""
    """Training, validation and test characters of each split, in words."""

    def describe(self) -> dict[str, str]:
        """The rows to show: label and value."""
        rows = {"data": self.name, "prepared": "yes" if self.prepared else "no", "source": self.source}
        if self.prepared:
            rows |= {"characters": f"{self.characters} × {DRAWINGS} drawings"}
            rows |= {"splits": self.splits} if self.splits else {}
            rows |= {"source hash": self.source_hash, "pixel hash": self.pixel_hash}
        return rows | {"cache file": str(self.cache_file)}


def pack(
    name: str,
    origin: str,
    images: npt.NDArray[np.uint8],
    alphabets: Sequence[str],
    characters: Sequence[str],
    source_hash: str,
) -> PackedImages:
    """Images uint8 (characters, DRAWINGS, SIDE, SIDE) with their hash; raises `ValueError` for anything else."""
    count = len(characters)
    if images.dtype != np.uint8 or images.shape != (count, DRAWINGS, SIDE, SIDE) or len(alphabets) != count:
        raise ValueError(f"{images.dtype} images of shape {images.shape} for {count} characters")
    if len(set(zip(alphabets, characters, strict=True))) != count:
        raise ValueError("two characters have the same name")
    images = np.ascontiguousarray(images)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    return PackedImages(
        name, origin, torch.from_numpy(images), tuple(alphabets), tuple(characters), source_hash, digest
    )


def shrink(drawing: "Image") -> npt.NDArray[np.uint8]:
    """A DRAWN_SIDE² grey drawing, ink black, as uint8 (SIDE, SIDE) with ink = 255, by Lanczos.

    The codes of MAML, Reptile, MAML++ and prototypical networks ask for a smooth filter, too, but of images of one bit,
    which Pillow reduces to the nearest pixel: theirs are black and white, with broken strokes.
    """
    from PIL import Image

    return 255 - np.asarray(drawing.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def cache_file(name: str) -> Path:
    """The cache file of the data called `name`."""
    return cache_dir() / f"{name}-{SIDE}.npz"


def save(packed: PackedImages, path: Path) -> None:
    """Write the cache file at once or not at all; raises `UserError` when the disk refuses."""
    text = {key: np.array(getattr(packed, key)) for key in ("name", "origin", "source_hash", "pixel_hash")}
    names = {"alphabets": np.array(packed.alphabets), "characters": np.array(packed.characters)}
    arrays: dict[str, Any] = {"format": np.array(FORMAT), "images": packed.images.numpy(), **text, **names}
    with replacing(path) as stream:
        np.savez_compressed(stream, **arrays)


def load(path: Path, name: str) -> PackedImages:
    """The data called `name` from its cache file; raises `UserError` when the file is not what `save` wrote.

    A process reads the same file once: what is trained and what is tested on then share their pixels on each device.
    """
    check_plain(path, MOST_BYTES)
    try:
        seen = path.stat()
        return _load(path, name, (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size))
    except PermissionError as error:
        raise UserError(f"cannot read the cache file {path}: {error.strerror}") from error
    except DAMAGE as error:
        raise UserError(f"the cache file {path} is damaged: delete it and run `metabench data prepare`") from error


@lru_cache(maxsize=2)
def _load(path: Path, name: str, version: tuple[int, ...]) -> PackedImages:
    """Read the file; `version` is another one once the file has changed. Raises one of `DAMAGE`."""
    with np.load(path, allow_pickle=False) as archive:
        if sum(entry.file_size for entry in archive.zip.infolist()) > MOST_BYTES:
            raise ValueError("it would fill the memory")
        if int(archive["format"]) != FORMAT or str(archive["name"]) != name:
            raise ValueError("another format or data set")
        packed = pack(
            name,
            str(archive["origin"]),
            archive["images"],
            archive["alphabets"].tolist(),
            archive["characters"].tolist(),
            str(archive["source_hash"]),
        )
        if packed.pixel_hash != str(archive["pixel_hash"]):
            raise ValueError("the pixels do not match their hash")
    return packed


def load_or_prepare(
    name: str, prepare: Callable[[], PackedImages], current: Callable[[PackedImages], bool] = lambda packed: True
) -> PackedImages:
    """The cached data if there is any and it is `current`; else what `prepare` makes, which is then cached.

    Processes that ask at the same time prepare it once: the others wait.
    """
    from filelock import FileLock

    path = cache_file(name)
    if path.exists() and current(packed := load(path, name)):
        return packed
    with FileLock(make_cache_dir() / f"{path.name}.lock"):
        if path.exists() and current(packed := load(path, name)):  # another process was faster
            return packed
        packed = prepare()
        save(packed, path)
    return packed
