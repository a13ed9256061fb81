"""The embedded stand-in for Omniglot: letters of 17 scripts, each drawn by 20 imitated writers.

1. The outline of every letter of `SCRIPTS` is read from DejaVu Sans (which matplotlib ships) in exact font units,
   filled, and thinned to its skeleton: the path of a pen.
2. Blank letters and look-alikes are dropped (`distinct`): of letters that could be mistaken for one another after
   scaling to one size and turning by any multiple of 90 degrees, one stays. The first 1623 make the data set.
3. Each writer has a slant, a size, proportions, a pen and a steadiness of hand; each drawing adds its own jitter and
   a smooth warp. Drawn at 105×105 in black and white, then reduced to 28×28 exactly as Omniglot is.

Which letters there are follows from integer arithmetic and so is the same everywhere; single pixels of the drawings
may differ between platforms by rounding, which the pixel hash records.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from metabench.errors import UserError
from metabench.files import make_cache_dir
from metabench.machine.threads import torch_threads
from metabench.record.cell import EvalClasses, Rotation
from metabench.tasks.base import TASKS, EpisodeShape, TaskSource
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
from metabench.tasks.waiting import announce

NAME = "glyphs"
ORIGIN = "drawn from DejaVu Sans, generator 1"
"""Raise the number with every change of what is drawn: cached drawings of another origin are drawn again."""

Floats: TypeAlias = npt.NDArray[np.float64]
Bitmaps: TypeAlias = npt.NDArray[np.bool_]

SCRIPTS: Mapping[str, Sequence[tuple[int, int]]] = {
    "Latin": ((0x41, 0x24F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF)),
    "Greek": ((0x370, 0x3E1), (0x3F0, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x400, 0x52F), (0xA640, 0xA69F)),
    "Coptic": ((0x3E2, 0x3EF),),
    "Armenian": ((0x531, 0x587),),
    "Georgian": ((0x10A0, 0x10FF), (0x2D00, 0x2D2F)),
    "Hebrew": ((0x5D0, 0x5F2), (0xFB1D, 0xFB4F)),
    "Arabic": ((0x620, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "Nko": ((0x7C0, 0x7FF),),
    "Lao": ((0xE80, 0xEFF),),
    "Canadian_syllabics": ((0x1401, 0x167F),),
    "Ogham": ((0x1681, 0x169A),),
    "Tifinagh": ((0x2D30, 0x2D6F),),
    "Phonetic": ((0x250, 0x2AF), (0x1D00, 0x1DBF)),
    "Old_Italic": ((0x10300, 0x1032F),),
    "Letterlike": ((0x2100, 0x214F),),
    "Mathematical": ((0x1D400, 0x1D7FF),),
}
"""Code points by script; those of them that are letters, and that the font has, are candidates."""


@dataclass(frozen=True)
class Definition:
    """All that decides what is drawn."""

    count: int = 1623
    """How many characters, at most: as many as Omniglot has."""
    seed: int = 0
    box: float = 77.0
    """Longer side in pixels of a letter before a writer sizes it."""
    alike: float = 0.93
    """Correlation of two letters, from which on they are look-alikes: just low enough to leave 1623."""
    origin: str = ORIGIN
    scripts: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=lambda: SCRIPTS)


DEFAULT = Definition()


@torch_threads(1)  # each call is small: several threads would mostly wait for each other, and spin
def draw(definition: Definition = DEFAULT) -> PackedImages:
    """Draw everything that `definition` asks for: about 15 s on one core for all 1623 characters.

    A drawing depends on the seed and its letter, not on which other letters are drawn.
    """
    letters, skeletons = distinct(definition)
    images = np.empty((len(letters), DRAWINGS, SIDE, SIDE), dtype=np.uint8)
    writers = _uniform((definition.seed,), DRAWINGS, 6)
    for row, ((_, code), skeleton) in enumerate(zip(letters, skeletons, strict=True)):
        images[row] = _drawings(skeleton, writers, (definition.seed, code))
    names = [f"U+{code:04X}" for _, code in letters]
    scripts = [script for script, _ in letters]
    return pack(NAME, definition.origin, images, scripts, names, source_hash(definition, letters))


def source_hash(definition: Definition, letters: Sequence[tuple[str, int]]) -> str:
    """SHA-256 of what was asked for and of the letters that were found."""
    return hashlib.sha256(json.dumps([asdict(definition), letters], sort_keys=True).encode()).hexdigest()


def distinct(definition: Definition) -> tuple[list[tuple[str, int]], Bitmaps]:
    """(script, code point) of the letters to draw and their skeletons (letters, DRAWN_SIDE, DRAWN_SIDE).

    Letters without accents take precedence over those that are composed of a letter and a mark, and earlier ones over
    later ones. The correlations are of exact integers, so the choice is the same on every platform.
    """
    from PIL import Image
    from scipy import ndimage

    letters, filled = _candidates(definition)
    # Α and А are A to the pixel: the first of those that are alike stays.
    unique = sorted({bitmap.tobytes(): i for i, bitmap in reversed([*enumerate(filled)])}.values())
    skeletons = _thin(filled[unique])
    broad = [shrink(Image.fromarray(np.uint8(255) * ~ndimage.binary_dilation(s, iterations=4))) for s in skeletons]
    looks = np.pad(np.stack(broad).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    looks = looks[:, :-2] + 2 * looks[:, 1:-1] + looks[:, 2:]  # blurred, to pass over shifts of less than a pixel
    looks = looks[:, :, :-2] + 2 * looks[:, :, 1:-1] + looks[:, :, 2:]
    turned = [np.rot90(looks, quarter, (1, 2)).reshape(len(looks), -1) for quarter in range(4)]
    upright, total, pixels = turned[0], turned[0].sum(1), SIDE * SIDE
    spread = pixels * (upright**2).sum(1) - total**2
    products = reduce(np.maximum, (view @ upright.T for view in turned))
    alike = pixels * products - np.outer(total, total) >= definition.alike * np.sqrt(np.outer(spread, spread))
    kept: list[int] = []
    for i in range(len(looks)):
        if spread[i] > 0 and not alike[i, kept].any():
            kept.append(i)
        if len(kept) == definition.count:
            break
    return [letters[unique[i]] for i in kept], skeletons[kept]


def _candidates(definition: Definition) -> tuple[list[tuple[str, int]], Bitmaps]:
    import matplotlib
    from matplotlib.ft2font import FT2Font, LoadFlags

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not path.is_file():
        raise UserError("the glyphs are drawn from DejaVu Sans, which this matplotlib lacks: install matplotlib anew")
    # Before 3.11 matplotlib made outlines eight times too narrow unless told not to; later it warns of the argument.
    plain = matplotlib.__version_info__ >= (3, 11)
    font = FT2Font(str(path)) if plain else FT2Font(str(path), hinting_factor=1)  # type: ignore[call-arg]
    known = font.get_charmap()
    letters = [
        (script, code)
        for script, ranges in definition.scripts.items()
        for low, high in ranges
        for code in range(low, high + 1)
        if code in known and unicodedata.category(chr(code)) in ("Lu", "Ll", "Lo")
    ]
    letters.sort(key=lambda letter: unicodedata.normalize("NFD", chr(letter[1])) != chr(letter[1]))
    filled = []
    for _, code in letters:
        font.load_char(code, flags=LoadFlags.NO_SCALE)  # font units: no hinting, no dependence on FreeType's version
        vertices, steps = font.get_path()
        filled.append(_fill(vertices, steps.tolist(), definition.box))
    inked = [i for i, bitmap in enumerate(filled) if bitmap.any()]
    return [letters[i] for i in inked], np.stack([filled[i] for i in inked])


def _fill(vertices: Floats, codes: Sequence[int], box: float) -> Bitmaps:
    """An outline of lines and quadratic curves as a bitmap (DRAWN_SIDE, DRAWN_SIDE), by the non-zero winding rule."""
    t = np.linspace(0, 1, 9)[1:, None]
    starts: list[Floats] = []
    ends: list[Floats] = []
    contour: list[Floats] = []
    steps = iter(zip(vertices, codes, strict=True))
    for vertex, code in steps:
        if code == 1:  # move
            contour = [vertex]
        elif code == 2:  # line
            contour.append(vertex)
        elif code == 3:  # curve: this control point and the next vertex
            end = next(steps)[0]
            contour.extend((1 - t) ** 2 * contour[-1] + 2 * t * (1 - t) * vertex + t**2 * end)
        else:  # close
            starts.extend(contour)
            ends.extend(contour[1:] + contour[:1])
    winding = np.zeros((DRAWN_SIDE, DRAWN_SIDE + 1), dtype=np.int64)
    if starts:
        points = np.array([starts, ends])
        low, high = points.min((0, 1)), points.max((0, 1))
        scale = box / max(float((high - low).max()), 1e-9)
        (ax, ay), (bx, by) = ((points - (low + high) / 2) * (scale, -scale) + DRAWN_SIDE / 2).transpose(0, 2, 1)
        centre = np.arange(DRAWN_SIDE)[:, None] + 0.5
        rising, falling = (ay <= centre) & (by > centre), (by <= centre) & (ay > centre)
        row, edge = np.nonzero(rising | falling)
        x = ax[edge] + (row + 0.5 - ay[edge]) * (bx[edge] - ax[edge]) / (by[edge] - ay[edge])
        column = np.clip(np.ceil(x - 0.5).astype(np.int64), 0, DRAWN_SIDE)
        np.add.at(winding, (row, column), np.where(rising[row, edge], 1, -1))
    return np.asarray(winding.cumsum(axis=1)[:, :DRAWN_SIDE] != 0)


def _thin(filled: Bitmaps) -> Bitmaps:
    """Skeletons of bitmaps (n, side, side), one pixel wide, by Zhang and Suen (1984)."""
    clockwise = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    north, east, south, west = (bits[:, k] for k in (0, 2, 4, 6))
    edge = (bits.sum(1) >= 2) & (bits.sum(1) <= 6) & ((np.roll(bits, -1, axis=1) > bits).sum(1) == 1)
    first = edge & (north * east * south == 0) & (east * south * west == 0)
    second = edge & (north * east * west == 0) & (north * south * west == 0)
    ink = np.pad(filled, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    active = np.arange(len(ink))
    while len(active):
        now = ink[active]
        before = now.copy()
        for removable in (first, second):
            around = np.zeros_like(now[:, 1:-1, 1:-1])
            for k, (dy, dx) in enumerate(clockwise):
                around |= now[:, 1 + dy : now.shape[1] - 1 + dy, 1 + dx : now.shape[2] - 1 + dx] << np.uint8(k)
            now[:, 1:-1, 1:-1] &= ~removable[around]
        ink[active] = now
        active = active[(now != before).any((1, 2))]
    return ink[:, 1:-1, 1:-1].astype(np.bool_)


def _uniform(seed: tuple[int, ...], *size: int) -> Floats:
    """Uniform on [-1, 1]: the generator's own bits, which no other library's version can change."""
    return 2 * np.random.default_rng(seed).random(size) - 1


def _drawings(skeleton: Bitmaps, writers: Floats, seed: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """One drawing (SIDE, SIDE) by each of the `writers` (n, 6), whose habits are numbers in [-1, 1]."""
    from PIL import Image
    from scipy import ndimage

    n = len(writers)
    jitter, bends, shakes = (_uniform((*seed, k), n, *size) for k, size in enumerate(((7,), (2, 4, 4), (2, 8, 8))))
    slant = 0.20 * writers[:, 0] + 0.12 * jitter[:, 0]
    turn = 0.08 * writers[:, 1] + 0.08 * jitter[:, 1]
    size = 0.90 * np.exp(0.12 * writers[:, 2] + 0.08 * jitter[:, 2])
    aspect = np.exp(0.10 * writers[:, 3] + 0.08 * jitter[:, 3])
    pen = 2.2 + 0.5 * writers[:, 4] + 0.2 * jitter[:, 4]  # radius in pixels
    unsteady = 1.0 + 0.4 * writers[:, 5]
    cos, sin = np.cos(turn), np.sin(turn)
    # Where in the letter a pixel of the drawing lies: undo place, size, slant and turn, then bend.
    grid = np.arange(DRAWN_SIDE) - (DRAWN_SIDE - 1) / 2
    x, y = grid[None, None, :] - 7 * jitter[:, 5, None, None], grid[None, :, None] - 7 * jitter[:, 6, None, None]
    across, down = (1 / (size * aspect))[:, None, None], (aspect / size)[:, None, None]
    cos, sin, slant = (a[:, None, None] for a in (cos, sin, slant))
    x, y = across * (cos * x + sin * y + slant * y), down * (cos * y - sin * x)
    shift = _smooth(13.0 * unsteady[:, None, None, None] * bends) + _smooth(
        3.0 * unsteady[:, None, None, None] * shakes
    )
    where = torch.from_numpy(np.stack((x + shift[:, 0], y + shift[:, 1]), axis=-1) * (2 / (DRAWN_SIDE - 1))).float()
    distance = torch.from_numpy(ndimage.distance_transform_edt(~skeleton).astype(np.float32))
    moved = torch.nn.functional.grid_sample(
        distance.expand(n, 1, -1, -1), where, mode="bilinear", padding_mode="border", align_corners=True
    )[:, 0]
    paper = moved.numpy() * size[:, None, None] > pen[:, None, None]
    return np.stack([shrink(Image.fromarray(np.uint8(255) * sheet)) for sheet in paper])


def _smooth(knots: Floats) -> Floats:
    """A smooth surface (..., DRAWN_SIDE, DRAWN_SIDE) through the values at a square of knots, by Gaussian weights."""
    count = knots.shape[-1]
    offset = np.linspace(0, count - 1, DRAWN_SIDE)[:, None] - np.arange(count)
    weight = np.exp(-((offset / 0.6) ** 2) / 2)
    weight /= weight.sum(1, keepdims=True)
    return np.asarray(weight @ knots @ weight.T)


def find(data_dir: Path | None = None) -> PackedImages:
    """The glyphs, drawn and cached when they are first asked for; `data_dir` is not used."""
    return load_or_prepare(NAME, _drawn, lambda packed: packed.origin == ORIGIN)


def _drawn() -> PackedImages:
    announce(f"preparing the images of {NAME}")
    return draw()


def prepare(data_dir: Path | None = None) -> PackedImages:
    """Draw the glyphs anew and cache them."""
    make_cache_dir()
    packed = _drawn()
    save(packed, cache_file(NAME))
    return packed


def status(data_dir: Path | None = None) -> DataStatus:
    """What is prepared, without drawing anything; raises `UserError` for a damaged cache file."""
    path = cache_file(NAME)
    if path.exists():
        packed = load(path, NAME)
        if packed.origin == ORIGIN:
            count, hashes = len(packed.characters), (packed.source_hash, packed.pixel_hash)
            return DataStatus(NAME, path, True, packed.origin, count, *hashes)
    return DataStatus(NAME, path, False, ORIGIN)


def build(
    shape: EpisodeShape, data_dir: Path | None, rotation: Rotation = "random", eval_classes: EvalClasses = "new"
) -> ImageTasks:
    """Episodes of drawn letters; `data_dir` is not used."""
    return ImageTasks(find(), shape, rotation, eval_classes=eval_classes)


TASKS.register(NAME)(
    TaskSource("classification", build, axes=("rotation", "eval_rotation", "eval_classes"), input_shape=(1, SIDE, SIDE))
)
