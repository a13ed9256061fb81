"""The embedded stand-in for sets of colour photographs: painted figures on painted grounds, 84x84 pixels.

1. A class is a figure and a way to paint it: an outline by the superformula (Gielis 2003), three colours, and the waves
   that two of them alternate in. Its ground has a colour and waves of its own.
2. An image sets the figure anywhere, in any size and turned by any angle, under light from some side, with colours that
   are off by a random amount, behind random spots, and with noise in each pixel.
3. Classes and images are drawn by numpy's own generator of random bits, which no library's version changes. Single
   pixels may differ between platforms by rounding, which the pixel hash records.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metabench.machine.threads import torch_threads
from metabench.tasks.base import TASKS, EpisodeShape, Split, TaskSource
from metabench.tasks.episodes import ImageSetTasks
from metabench.tasks.image_set import ImageSet, image_set
from metabench.tasks.kept_set import kept
from metabench.tasks.waiting import announce

NAME = "emblems"
ORIGIN = "drawn by formula, generator 1"
"""Raise the number with every change of what is drawn: cached images of another origin are drawn again."""
ANGLES = 1024
"""Places at which an outline is computed."""
AT_ONCE = 10
"""Images that are drawn together: few enough for a processor's cache."""


@dataclass(frozen=True)
class Definition:
    """All that decides what is drawn."""

    train: int = 64
    validation: int = 16
    test: int = 20
    """Classes of each split: as many as miniImageNet has."""
    each: int = 60
    """Images of a class."""
    side: int = 84
    seed: int = 0
    place: float = 0.25
    """How far from the middle a figure may lie; half the breadth of an image is 1."""
    tint: float = 0.08
    """How far the colours of an image may be off; black to white is 1."""
    spots: int = 2
    """Spots that lie over an image."""
    noise: float = 0.04
    """Largest noise of a pixel."""
    origin: str = ORIGIN

    @property
    def classes(self) -> int:
        """Classes in all."""
        return self.train + self.validation + self.test

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all classes."""
        return tuple(f"emblem {number}" for number in range(self.classes))

    @property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """The names of the classes of each split: the first ones train, the last ones test."""
        first, second = self.train, self.train + self.validation
        return {"train": self.names[:first], "validation": self.names[first:second], "test": self.names[second:]}

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked for."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


DEFAULT = Definition()


@dataclass(frozen=True)
class _Paint:
    """What a class is: its outline, how its two colours alternate, and which they are."""

    outline: Tensor
    waves: tuple[float, float, float]
    colours: Tensor
    """(2, 3)."""


def find(definition: Definition = DEFAULT) -> ImageSet:
    """The emblems, drawn and cached when they are first asked for."""

    def drawn() -> ImageSet:
        announce(f"preparing the images of {NAME}")
        return draw(definition)

    return kept(f"{NAME}-{definition.digest[:16]}", drawn)


@torch_threads(1)  # each call is small: several threads would mostly wait for each other, and spin
def draw(definition: Definition = DEFAULT) -> ImageSet:
    """Draw all images: some seconds on one core for the default.

    The images of a class depend on the seed and its number, not on how many classes there are.
    """
    d = definition
    images = np.empty((d.classes, d.each, 3, d.side, d.side), dtype=np.uint8)
    for number in range(d.classes):
        images[number] = _images(d, number).numpy()
    labels = np.arange(d.classes).repeat(d.each)
    return image_set(NAME, d.origin, images.reshape(-1, 3, d.side, d.side), labels, d.names, d.digest)


def _images(d: Definition, number: int) -> Tensor:
    """All images of a class, uint8 (images, 3, side, side)."""
    own, each = np.random.default_rng((d.seed, number)), np.random.default_rng((d.seed, number, 1))
    paint = _Paint(_outline(own), _waves(own), torch.from_numpy(own.random((2, 3), dtype=np.float32)))
    parts = [min(AT_ONCE, d.each - done) for done in range(0, d.each, AT_ONCE)]
    return torch.cat([_painted(d, paint, each, count) for count in parts])


def _painted(d: Definition, paint: _Paint, random: np.random.Generator, count: int) -> Tensor:
    """The next images of a class, uint8 (count, 3, side, side)."""

    def some(*size: int) -> Tensor:
        """Uniform on [-1, 1), for each image."""
        return torch.from_numpy(random.random((count, *size), dtype=np.float32)) * 2 - 1

    middle, size, turn = d.place * some(2), 0.6 * torch.exp2(0.5 * some()), torch.pi * some()
    grid = (torch.arange(d.side) + 0.5) * (2 / d.side) - 1
    x, y = grid - _each(middle[:, 0]), grid[:, None] - _each(middle[:, 1])
    cos, sin = _each(turn.cos() / size), _each(turn.sin() / size)
    u, v = cos * x + sin * y, cos * y - sin * x  # where in the figure a pixel lies

    radius = torch.hypot(u, v)
    place = (torch.atan2(v, u) * (ANGLES / (2 * torch.pi))).long() % ANGLES
    inside = torch.sigmoid((paint.outline[place] - radius) * 14)
    across, down, outwards = paint.waves
    stripes = torch.sigmoid(5 * torch.sin(across * u + down * v + outwards * radius + torch.pi * _each(some())))
    rough = torch.sin(_each(6 * some()) * grid + _each(6 * some()) * grid[:, None] + _each(3 * some()))

    first, second = (_plane(paint.colours[i] + d.tint * some(3)) for i in (0, 1))
    ground = _plane(some(3) / 2 + 0.5) * (1 + 0.3 * rough[:, None])
    image = ground.lerp(first.lerp(second, stripes[:, None]), inside[:, None])
    for _ in range(d.spots):
        spot, breadth = 1.2 * some(2), (0.2 + 0.1 * some()) ** 2
        away = (grid - _each(spot[:, 0])) ** 2 + (grid[:, None] - _each(spot[:, 1])) ** 2
        image = image.lerp(_plane(some(3) / 2 + 0.5), torch.sigmoid((_each(breadth) - away) * 60)[:, None])
    light = 1 + 0.35 * (_each(some()) * grid + _each(some()) * grid[:, None]) + 0.2 * _each(some())
    image = image * light[:, None] + d.noise * some(1, d.side, d.side)
    return image.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _outline(own: np.random.Generator) -> Tensor:
    """The radius of a figure at `ANGLES` angles, at most 1."""
    arms, sharp, bent = own.integers(2, 9), 0.35 + 2.5 * own.random(), 0.6 + 3 * own.random(2)
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES) * arms / 4
    radius = (np.abs(np.cos(angle)) ** bent[0] + np.abs(np.sin(angle)) ** bent[1]) ** (-1 / (sharp + 0.5))
    # An odd number of arms does not close after one turn: from the other end, it does.
    radius = (radius + radius[::-1]) / 2
    return torch.from_numpy((0.35 + 0.65 * radius / radius.max()).astype(np.float32))


def _waves(own: np.random.Generator) -> tuple[float, float, float]:
    """How fast a paint alternates across, down and outwards in a figure."""
    speed, share, angle = 3 + 9 * own.random(), own.random(), np.pi * own.random()
    return speed * share * np.cos(angle), speed * share * np.sin(angle), speed * (1 - share)


def _each(values: Tensor) -> Tensor:
    """A number for each image, to be broadcast over its pixels."""
    return values[:, None, None]


def _plane(colours: Tensor) -> Tensor:
    """A colour for each image, to be broadcast over its pixels."""
    return colours[..., None, None]


def build(shape: EpisodeShape, data_dir: Path | None) -> ImageSetTasks:
    """Episodes of emblems; `data_dir` is not used."""
    return ImageSetTasks(find(), DEFAULT.splits, shape, {"split_by": "the number of the class"})


TASKS.register(NAME)(TaskSource("classification", build, input_shape=(3, DEFAULT.side, DEFAULT.side)))
