"""Images of any files as one array of one size, decoded once and kept in the cache under the hash of the files."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from metabench.errors import UserError, in_short
from metabench.files import MEBIBYTE, make_cache_dir, replace_file, replacing, writing
from metabench.machine.cores import available_cores
from metabench.tasks.image_set import ImageSet, Pixels, image_set
from metabench.tasks.listing import Listing
from metabench.tasks.waiting import announce

if TYPE_CHECKING:  # Pillow is loaded where it is used: importing a task distribution must be cheap
    from PIL.Image import Image

FORMAT = 1
"""Version of what is kept; another version is not read."""
FOLDER = "images"
"""Folder of the cache with a pair of files for each set and size, and a file for each listing that was read."""
GREY = ("1", "L", "LA")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "La", "RGBa")
CHECKED_BYTES = 256 * MEBIBYTE
"""Arrays up to this size are held to their hash whenever they are read; of larger ones the size alone is."""
AT_ONCE = 256
"""Images that are decoded before they are written."""
MANY = 5000
"""Images from which on reading them takes so long that it is announced."""
T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """What is known of the pixels in a file of the cache."""

    format: int
    shape: tuple[int, int, int, int]
    pixel_hash: str
    grey_made_colour: int
    """How many grey images stand in three channels, since others have colour."""


@dataclass(frozen=True)
class Look:
    """What is known of images before they are decoded."""

    source_hash: str
    """SHA-256 of the names and bytes of all files."""
    sizes: dict[tuple[int, int], str]
    """The first image of each width and height."""
    grey: int
    """How many are grey."""


@dataclass(frozen=True)
class Found:
    """The pixels of a listing, in a file of the cache. Equal for the same pixels."""

    file: Path
    version: tuple[int, ...]
    """Another one once the file has changed."""
    stamp: str
    name: str
    """What the data is called: the same pixels may have two names."""
    listing: Listing = field(compare=False)
    kept: Kept = field(compare=False)
    source_hash: str


def decoded(listing: Listing, image_size: int = 0) -> tuple[ImageSet, dict[str, str]]:
    """All images of a listing, each `image_size` pixels a side, or 0: as they are; and what provenance says of that.

    Files that were decoded before are not read again unless their names, sizes or times have changed. Processes that
    ask at the same time decode them once: the others wait. Raises `UserError` for a file that is no image or damaged,
    and for images of several sizes where no size is asked for.
    """
    found = _found_or_made(listing, image_size)
    resized = f"to {image_size}x{image_size} by Lanczos, whatever their shape" if image_size else "no"
    details = {"resized": resized}
    if found.kept.grey_made_colour:
        details["grey images in three channels"] = str(found.kept.grey_made_colour)
    return _set(found), details


def first_shape(listing: Listing, image_size: int = 0) -> tuple[int, int, int]:
    """Channels, height and width of the first image, whatever the others are."""

    def shape(opened: Opened) -> tuple[int, int, int]:
        width, height = (image_size, image_size) if image_size else opened.image.size
        return 1 if opened.image.mode in GREY else 3, height, width

    return _opened(listing, listing.files[0], shape)


@lru_cache(maxsize=2)
def _set(found: Found) -> ImageSet:
    """The images. What is trained and what is tested on then share their pixels on each device."""
    listing, kept = found.listing, found.kept
    return image_set(
        listing.name,
        "class folders",
        _pixels(found.file, kept),
        listing.labels,
        listing.classes,
        found.source_hash,
        listing.groups,
        kept.pixel_hash,
    )


def _pixels(file: Path, kept: Kept) -> Pixels:
    """The array of a file, mapped into memory if it is large; raises `UserError` if it is not what was written."""
    try:
        # copy on write: torch takes no array that cannot be written to
        pixels: Pixels = np.load(file, mmap_mode="c", allow_pickle=False)
        if pixels.nbytes <= CHECKED_BYTES:
            pixels = np.array(pixels)
            if sha256(pixels.data).hexdigest() != kept.pixel_hash:
                raise ValueError("the pixels do not match their hash")
        if pixels.shape != kept.shape or pixels.dtype != np.uint8:
            raise ValueError("another shape")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"the cache file {file} is damaged ({error}): delete it") from None
    return pixels


def _found_or_made(listing: Listing, image_size: int) -> Found:
    from filelock import FileLock

    folder = make_cache_dir() / FOLDER
    with writing(folder):
        folder.mkdir(exist_ok=True)
    if found := _found(listing, image_size, folder):
        return found
    with FileLock(folder / f"{listing.stamp[:16]}.lock"):
        if found := _found(listing, image_size, folder):  # another process was faster
            return found
        if len(listing.files) > MANY:
            announce(f"reading the {len(listing.files)} images of {listing.name}", "up to some minutes")
        look = _look(listing)
        file = _file(folder, look.source_hash, image_size)
        _make(listing, look, image_size, file)
        replace_file(_seen(folder, listing), look.source_hash.encode())
        if found := _found(listing, image_size, folder):
            return found
    raise UserError(f"the cache folder {folder} loses what is written to it: set METABENCH_CACHE to another one")


def _file(folder: Path, source_hash: str, image_size: int) -> Path:
    return folder / f"{source_hash[:32]}-{image_size or 'own'}.npy"


def _seen(folder: Path, listing: Listing) -> Path:
    return folder / f"listing-{listing.stamp[:32]}.txt"


def _found(listing: Listing, image_size: int, folder: Path) -> Found | None:
    """What was kept for a listing; None where nothing was, or not as a whole, or by another version."""
    try:
        source_hash = _seen(folder, listing).read_text(encoding="ascii")
        file = _file(folder, source_hash, image_size)
        kept = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=Kept)
        seen = file.stat()
    except (OSError, ValueError):
        return None
    if kept.format != FORMAT or kept.shape[0] != len(listing.files):
        return None
    return Found(
        file, (seen.st_ino, seen.st_mtime_ns, seen.st_size), listing.stamp, listing.name, listing, kept, source_hash
    )


def _make(listing: Listing, look: Look, image_size: int, file: Path) -> None:
    """Decode all images into a file of the cache, and say beside it what it holds."""
    (width, height), *others = look.sizes
    if others and not image_size:
        raise _several_sizes(listing, look)
    width, height = (image_size, image_size) if image_size else (width, height)
    mode = "L" if look.grey == len(listing.files) else "RGB"
    shape = len(listing.files), len(mode), height, width
    digest = sha256()
    with replacing(file) as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for images in _of_each(listing, lambda opened: _array(opened, mode, (width, height))):
            chunk = np.ascontiguousarray(images)
            digest.update(chunk.data)
            stream.write(chunk.data)
    kept = Kept(FORMAT, shape, digest.hexdigest(), look.grey if mode == "RGB" else 0)
    replace_file(file.with_suffix(".json"), msgspec.json.encode(kept))


def _look(listing: Listing) -> Look:
    """Read all files once: their hash, and what their headers say."""
    digest, sizes, grey = sha256(), dict[tuple[int, int], str](), 0
    names = iter(listing.files)

    def seen(opened: Opened) -> tuple[str, tuple[int, int], bool]:
        return sha256(opened.content).hexdigest(), opened.image.size, opened.image.mode in GREY

    for chunk in _of_each(listing, seen):
        for own, size, is_grey in chunk:
            name = next(names)
            digest.update(f"{name}\0{own}\0".encode())
            sizes.setdefault(size, name)
            grey += is_grey
    return Look(digest.hexdigest(), sizes, grey)


@dataclass(frozen=True)
class Opened:
    """An image file whose header was read."""

    content: bytes
    """The bytes of the file."""
    image: "Image"


def _of_each(listing: Listing, use: Callable[[Opened], T]) -> Iterator[list[T]]:
    """What `use` gives for each image, some at once, on several threads: Pillow decodes without Python's lock."""
    from PIL import Image

    Image.init()  # all types of files, whatever thread asks first

    with ThreadPoolExecutor(available_cores()) as threads:
        for first in range(0, len(listing.files), AT_ONCE):
            names = listing.files[first : first + AT_ONCE]
            yield list(threads.map(lambda name: _opened(listing, name, use), names))


def _opened(listing: Listing, name: str, use: Callable[[Opened], T]) -> T:
    """What `use` gives for an image file; raises `UserError` for whatever Pillow does not read."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = (listing.folder / name).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in (*GREY, *COLOUR):
                raise UserError(
                    f"'{listing.shown(name)}' has more than 8 bits a channel (mode {image.mode}): save it with 8"
                )
            return use(Opened(content, image))
    except UserError:
        raise
    except Exception as error:  # of a file that is damaged, Pillow may raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is none, or of a type that Pillow does not read" if unknown else in_short(error)
        raise UserError(
            f"'{listing.shown(name)}' cannot be read as an image ({reason}): replace it, or take it out"
        ) from error


def _array(opened: Opened, mode: str, size: tuple[int, int]) -> Pixels:
    """The pixels of an image, uint8 (channels, height, width)."""
    from PIL import Image

    pixels = np.asarray(opened.image.convert(mode).resize(size, Image.Resampling.LANCZOS))
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def _several_sizes(listing: Listing, look: Look) -> UserError:
    (first, one), (second, other), *_ = look.sizes.items()
    sides = f"{first[0]}x{first[1]} ({one}) and {second[0]}x{second[1]} ({other})"
    return UserError(f"the images of '{listing.name}' have several sizes, such as {sides}: add image_size = 84")
