"""A set of labelled images of one size, in memory or mapped from a file, with the hashes that identify it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metabench.tasks.base import EpisodeShape
from metabench.tensors import Batch, Task

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """All images of some classes. Made by `image_set`, which checks them."""

    name: str
    """What the data is called in tables."""
    origin: str
    """How it was come by, in a few words and with no path of any machine."""
    images: torch.Tensor
    """uint8 (examples, channels, height, width)."""
    labels: torch.Tensor
    """int64 (examples,): the class of each image, a place in `classes`."""
    classes: tuple[str, ...]
    """The names of the classes; each is unique."""
    groups: tuple[str, ...]
    """The group of each class, such as its alphabet; empty texts where there are none."""
    source_hash: str
    """SHA-256 of what the images were made from; the same whatever library decoded them."""
    pixel_hash: str
    """SHA-256 of `images`, in row-major order."""
    _placed: dict[torch.device, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def counts(self) -> torch.Tensor:
        """Images of each class, int64 (classes,)."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def by_class(self) -> torch.Tensor:
        """Rows of `images`, those of the first class first, int64 (examples,)."""
        return self.labels.argsort(stable=True)

    @cached_property
    def starts(self) -> torch.Tensor:
        """Where each class begins in `by_class`, int64 (classes,)."""
        return self.counts.cumsum(0) - self.counts

    def on(self, device: torch.device) -> torch.Tensor:
        """All images on that device, one row each: uint8 (examples, channels * height * width).

        Copied at the first call for a device and kept there; on a processor it is the images themselves.
        """
        if device not in self._placed:
            self._placed[device] = self.images.flatten(1).to(device)
        return self._placed[device]


def image_set(
    name: str,
    origin: str,
    images: Pixels,
    labels: Sequence[int] | npt.NDArray[np.int64],
    classes: Sequence[str],
    source_hash: str,
    groups: Sequence[str] = (),
    pixel_hash: str = "",
) -> ImageSet:
    """Images uint8 (examples, channels, height, width) with their hash; raises `ValueError` for anything else.

    `pixel_hash` is handed in where it is known already, since that of a large set takes a while.
    """
    own = np.ascontiguousarray(labels, dtype=np.int64)
    groups = tuple(groups) or ("",) * len(classes)
    if images.dtype != np.uint8 or images.ndim != 4 or own.shape != (len(images),) or 0 in images.shape:
        raise ValueError(f"{images.dtype} images of shape {images.shape} with labels of shape {own.shape}")
    if len(set(classes)) != len(classes) or len(groups) != len(classes):
        raise ValueError("two classes have the same name, or a class has no group")
    if own.min() < 0 or own.max() >= len(classes):
        raise ValueError(f"labels from {own.min()} to {own.max()} for {len(classes)} classes")
    digest = pixel_hash or hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    pixels = torch.from_numpy(images)
    return ImageSet(name, origin, pixels, torch.from_numpy(own), tuple(classes), groups, source_hash, digest)


def episodes_of(
    pixels: Tensor, classes: Tensor, shape: EpisodeShape, input_shape: tuple[int, ...], like: Tensor
) -> Task:
    """An episode batch of images: x (tasks, examples, *input_shape) in [0, 1], y int64 (tasks, examples), shot-major.

    `pixels` are bytes, one row an image: the support sets of all tasks, then their query sets. So support and query
    sets are divided together: on a GPU each operation costs a launch.
    """
    ways, shots, query = shape.ways, shape.shots, shape.query
    tasks = len(pixels) // (ways * (shots + query))
    x = pixels.to(torch.float32).div_(255).to(like.dtype)
    y = torch.arange(ways, device=pixels.device).repeat(len(pixels) // ways)

    def batch(first: int, examples: int) -> Batch:
        part = slice(first, first + tasks * examples)
        return Batch(x[part].view(tasks, examples, *input_shape), y[part].view(tasks, examples))

    return Task(batch(0, ways * shots), batch(tasks * ways * shots, ways * query), classes.view(tasks, ways))
