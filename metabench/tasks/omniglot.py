"""Omniglot (Lake et al. 2015): 1623 handwritten characters of 50 alphabets, 20 drawings of each.

Sources, in this order: the prepared cache file; the folder given by `data_dir` or METABENCH_DATA, which holds the two
official zips or what was extracted from them; torchvision's download. A folder that is given must hold Omniglot even
when the cache could serve: a mistyped path is never passed over in silence.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metabench.errors import UserError
from metabench.files import MEBIBYTE, check_plain, make_cache_dir
from metabench.record.cell import EvalClasses, Rotation
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource
from metabench.tasks.characters import BY_NAME, RULES, sizes
from metabench.tasks.download import DataMissing, downloaded
from metabench.tasks.images import ImageTasks
from metabench.tasks.packed import (
    DRAWINGS,
    DRAWN_SIDE,
    SIDE,
    DataStatus,
    PackedImages,
    cache_file,
    load,
    load_or_prepare,
    pack,
    save,
    shrink,
)
from metabench.tasks.places import all_data
from metabench.tasks.waiting import announce

NAME = "omniglot"
EXPECTED: Mapping[str, int] = {"images_background": 964, "images_evaluation": 659}
"""The two parts of Omniglot and how many characters each holds."""
MAX_PNG_BYTES = 64 * 1024  # the largest real one has 522 bytes
MAX_ZIP_BYTES = 64 * MEBIBYTE  # the larger real one has some 10
MAX_ENTRIES = 100_000  # the larger real zip has some 20 000
DOWNLOAD_SECONDS = 60.0

_IMAGE = re.compile(
    r"(?P<part>images_\w+)/(?P<alphabet>[\w()'-]+)/(?P<character>character\d{2})/\d{4}_\d{2}\.png", re.ASCII
)
_WANTED = "images_background.zip and images_evaluation.zip, or the two extracted folders"
_DOWNLOAD = (
    "import sys; from torchvision.datasets import Omniglot\n"
    "for background in (True, False): Omniglot(sys.argv[1], background=background, download=True)"
)


@dataclass(frozen=True)
class Source:
    """Where the two parts of Omniglot lie: a zip or a folder each."""

    folder: Path
    parts: tuple[Path, ...]

    @property
    def origin(self) -> str:
        """Origin in a few words, with no path."""
        return " and ".join(sorted({"zip files" if part.suffix == ".zip" else "folders" for part in self.parts}))


def locate(folder: Path) -> Source:
    """The two parts in `folder` or one level below it; raises `UserError` when they are not there."""
    if not folder.is_dir():
        raise UserError(f"the data folder {folder} does not exist: expected a folder holding {_WANTED}")
    missing = tuple(EXPECTED)
    try:
        for place in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
            found = {part: path for part in EXPECTED if (path := _part(place, part))}
            if len(found) == len(EXPECTED):
                return Source(place, tuple(found.values()))
            missing = min(missing, tuple(part for part in EXPECTED if part not in found), key=len)
    except PermissionError as error:
        raise UserError(f"the data folder {folder} cannot be read: {error.strerror}") from error
    what = "does not hold Omniglot" if len(missing) == len(EXPECTED) else f"holds only a part: no {missing[0]}"
    raise UserError(f"the data folder {folder} {what}; expected {_WANTED}")


def _part(place: Path, part: str) -> Path | None:
    """The zip is preferred: where torchvision has been there are both, and a zip cannot be half extracted."""
    archive, extracted = place / f"{part}.zip", place / part
    return archive if archive.is_file() else extracted if extracted.is_dir() else None


def find(data_dir: Path | None = None, download: bool = True) -> PackedImages:
    """Omniglot from the first source that has it, prepared and cached if need be.

    Raises `DataMissing` when no source has it, `UserError` when the folder given, the archives or the cache are wrong.
    """
    source = _given(data_dir)
    if source:
        return load_or_prepare(NAME, lambda: read(source))
    if not download and not cache_file(NAME).exists():
        raise _missing("it was not prepared")
    return load_or_prepare(NAME, _fetch)


def available(data_dir: Path | None = None, download: bool = True) -> bool:
    """Whether `find` can serve Omniglot, which is then prepared. A wrong folder or file still raises `UserError`."""
    try:
        find(data_dir, download)
    except DataMissing:
        return False
    return True


def prepare(data_dir: Path | None = None) -> PackedImages:
    """What `find` does, except that a folder that is given is always read anew."""
    source = _given(data_dir)
    if source is None:
        return find()
    make_cache_dir()  # first, so that a cache that cannot be written is known at once
    packed = read(source)
    save(packed, cache_file(NAME))
    return packed


def status(data_dir: Path | None = None) -> DataStatus:
    """What is prepared or could be, without preparing it; raises `UserError` for a wrong folder or cache file."""
    source, path = _given(data_dir), cache_file(NAME)
    if path.exists():
        packed = load(path, NAME)
        count, hashes = len(packed.characters), (packed.source_hash, packed.pixel_hash)
        return DataStatus(NAME, path, True, packed.origin, count, *hashes, sizes(packed))
    return DataStatus(NAME, path, False, f"{source.origin} in {source.folder}" if source else "torchvision's download")


def _given(data_dir: Path | None) -> Source | None:
    folder = all_data(data_dir)
    return locate(folder) if folder else None


def read(source: Source, origin: str = "") -> PackedImages:
    """Decode, reduce and check all drawings of `source`; raises `UserError` when it is damaged or incomplete."""
    files: dict[str, bytes] = {}
    for part in source.parts:
        files.update(_read_zip(part) if part.suffix == ".zip" else _read_folder(part))
    names = sorted(files)
    classes = _classes(names, source.folder)
    announce(f"preparing the images of {NAME}")
    digest = hashlib.sha256()
    images = np.empty((len(names), SIDE, SIDE), dtype=np.uint8)
    for row, name in enumerate(names):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
        images[row] = _decode(files[name], source.folder, name)
    return pack(
        NAME,
        origin or source.origin,
        images.reshape(len(classes), DRAWINGS, SIDE, SIDE),
        [alphabet for alphabet, _ in classes],
        [character for _, character in classes],
        digest.hexdigest(),
    )


def _read_zip(path: Path) -> dict[str, bytes]:
    """The drawings by canonical name, read in memory: nothing of the archive is ever written to disk."""
    files: dict[str, bytes] = {}
    try:
        check_plain(path, MAX_ZIP_BYTES)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise UserError(f"{path} is not an Omniglot archive: it has {len(entries)} entries")
            for entry in entries:
                if not _wanted(entry.filename.split("/")):
                    continue
                if not _canonical(entry.filename, path.stem) or entry.filename in files:
                    raise UserError(f"{path} is not an Omniglot archive: unexpected entry {entry.filename[:80]!r}")
                if entry.file_size > MAX_PNG_BYTES:
                    raise UserError(f"{path} is not an Omniglot archive: {entry.filename} is too large")
                files[entry.filename] = archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a zip file ({error}): copy or download it again") from error
    return files


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        for file in sorted(path.rglob("*.png")):
            name = file.relative_to(path.parent).as_posix()
            if not _wanted(name.split("/")):
                continue
            if not _canonical(name, path.name):
                raise UserError(f"{path} does not hold Omniglot alone: unexpected file {name}")
            if not file.is_file() or file.stat().st_size > MAX_PNG_BYTES or len(files) == MAX_ENTRIES:
                raise UserError(f"{path} does not hold Omniglot alone: {name} is too large, too many, or no file")
            files[name] = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return files


def _wanted(parts: list[str]) -> bool:
    """Images, but not what a desktop leaves beside them (`__MACOSX`, `._0001_01.png`)."""
    return parts[-1].endswith(".png") and parts[0] != "__MACOSX" and not parts[-1].startswith(".")


def _canonical(name: str, part: str) -> bool:
    match = _IMAGE.fullmatch(name)
    return match is not None and match["part"] == part


def _classes(names: Iterable[str], folder: Path) -> list[tuple[str, str]]:
    """(alphabet, character) in canonical order; raises `UserError` unless Omniglot is complete."""
    drawings = Counter(name.rsplit("/", 1)[0] for name in names)
    for part, expected in EXPECTED.items():
        found = sum(character.startswith(f"{part}/") for character in drawings)
        if found != expected:
            raise UserError(
                f"{folder} does not hold all of Omniglot: {found} characters in {part} instead of {expected}"
            )
    for character, count in drawings.items():
        if count != DRAWINGS:
            raise UserError(f"{folder} does not hold all of Omniglot: {character} has {count} drawings, not {DRAWINGS}")
    return [(alphabet, character) for _, alphabet, character in (path.split("/") for path in drawings)]


def _decode(png: bytes, folder: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if image.size != (DRAWN_SIDE, DRAWN_SIDE):  # checked before a pixel is decoded
                raise UserError(f"{name} in {folder} is not a drawing of Omniglot: its size is {image.size}")
            # Pillow reduces one-bit images by nearest neighbour whatever filter is asked for.
            return shrink(image.convert("L"))
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{name} in {folder} is not a readable PNG: copy or download it again") from error


def _missing(reason: object) -> DataMissing:
    return DataMissing(f"no Omniglot ({reason}): give --data-dir or METABENCH_DATA a folder holding {_WANTED}")


def _fetch() -> PackedImages:
    """torchvision's download."""
    from torchvision.datasets import Omniglot

    url = f"{Omniglot.download_url_prefix}/images_background.zip"
    try:
        with downloaded(NAME, url, _DOWNLOAD, DOWNLOAD_SECONDS) as folder:
            return read(locate(folder), "torchvision's download")
    except DataMissing as reason:
        raise _missing(reason) from reason.__cause__


def build(
    shape: EpisodeShape,
    data_dir: Path | None,
    split: str = BY_NAME,
    rotation: Rotation = "random",
    eval_classes: EvalClasses = "new",
) -> ImageTasks:
    """Episodes of Omniglot characters."""
    return ImageTasks(find(data_dir), shape, rotation, split, eval_classes)


TASKS.register(NAME)(
    TaskSource(
        "classification",
        build,
        axes=("split", "rotation", "eval_rotation", "eval_classes"),
        splits=RULES,
        input_shape=(1, SIDE, SIDE),
    )
)
