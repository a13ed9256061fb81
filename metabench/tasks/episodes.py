"""N-way K-shot classification of the images of a set: any size, grey or colour, any number of images of each class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from metabench.errors import Unsupported
from metabench.tasks.base import ALL, SPLITS, DeviceTasks, Drawn, EpisodeShape, Kind, Provenance, Split
from metabench.tasks.image_set import ImageSet, episodes_of
from metabench.tensors import Task

PIXELS = "float in [0, 1], not standardised"
KEPT_SHARE = 0.25
"""Share of a GPU's memory up to which a set lies on it as a whole. Of a larger one, each meta-batch is copied there."""
ALWAYS_KEPT = 1 << 30
"""Bytes of a set that lies on the device whatever it is: to ask for its memory takes a CUDA context."""
CLASS_BYTES = 8


@dataclass(frozen=True, eq=False)
class ImageSetTasks(DeviceTasks):
    """Episodes of `shape.ways` classes of an image set. Splits share no class.

    Drawing raises `Unsupported` when the split has fewer classes than ways, or a class fewer images than its shots and
    queries; so does making an object where that holds for all splits. Raises `ValueError` for a class that the set
    lacks, or that stands in two splits.
    """

    images: ImageSet
    splits: Mapping[Split, tuple[str, ...]]
    """The names of the classes of each split; a split that is missing is empty."""
    shape: EpisodeShape
    details: Mapping[str, str] = field(default_factory=dict)
    """What the provenance says beside: how the split was made, how the images were resized."""

    kind: Kind = "classification"

    def __post_init__(self) -> None:
        if min(self.shape.ways, self.shape.shots, self.shape.query) < 1:
            raise Unsupported(f"{self.images.name} needs at least one way, one shot and one query, not {self.shape}")
        named = [name for names in self.splits.values() for name in names]
        if len(set(named)) != len(named) or not set(named) <= set(self.images.classes):
            raise ValueError("a class stands in two splits, or in none of the set")
        if all(self._faults.values()):
            raise Unsupported(self._faults["train"])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.images.shape

    @property
    def outputs(self) -> int:
        """The number of classes of a task."""
        return self.shape.ways

    @property
    def training_classes(self) -> int:
        """Classes of the training split."""
        return len(self.classes["train"])

    @property
    def provenance(self) -> Provenance:
        """Named after the data, hashed by its source; the details record pixels and split."""
        sizes = ", ".join(f"{split} {len(classes)}" for split, classes in self.classes.items())
        shape = "x".join(map(str, self.images.shape))
        details = {"origin": self.images.origin, "pixel_hash": self.images.pixel_hash, "split": sizes}
        details |= {"images": f"{len(self.images.labels)} of {shape}", "pixels": PIXELS, "augmentation": "none"}
        return Provenance(self.images.name, self.images.source_hash, {**details, **self.details})

    @cached_property
    def classes(self) -> dict[Split, Tensor]:
        """The classes of each split, int64 (classes of the split,), as places in `ImageSet.classes`."""
        place = {name: number for number, name in enumerate(self.images.classes)}
        return {
            split: torch.tensor(sorted(place[name] for name in self.splits.get(split, ())), dtype=torch.int64)
            for split in SPLITS
        }

    def draw(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Drawn:
        """Which images and which classes, int64, flat: the rows of the support sets, those of the query sets, and
        `Task.classes`. Of a set that is too large for the device, all of it as bytes, with pixels in place of rows.

        Drawn without replacement: classes within a task, in random order, and images within a class. The time that it
        takes does not depend on how many images a class has.
        """
        if fault := self._faults[split]:
            raise Unsupported(fault)
        pool = self.classes[split]
        ways, shots, each = self.shape.ways, self.shape.shots, self.shape.shots + self.shape.query
        # The places of the largest of independent uniforms are a uniform draw without replacement, in random order.
        places = torch.rand(tasks, len(pool), generator=generator)[share].topk(ways).indices
        uniform = torch.rand(tasks, each, ways, generator=generator, dtype=torch.float64)[share]
        order = torch.rand(tasks, each, ways, generator=generator)[share].argsort(dim=1)
        chosen = pool[places]  # (tasks, ways)
        images = _distinct(self.images.counts[chosen], uniform).gather(1, order)
        rows = self.images.by_class[self.images.starts[chosen][:, None] + images]  # (tasks, images, ways)
        drawn = torch.cat([rows[:, :shots].reshape(-1), rows[:, shots:].reshape(-1)])
        if self.streamed:
            drawn = self.images.on(drawn.device).index_select(0, drawn).view(-1)
            return torch.cat([drawn, places.reshape(-1).view(torch.uint8)])
        return torch.cat([drawn, places.reshape(-1)])

    def make(self, drawn: Drawn, like: Tensor) -> Task:
        """x (tasks, examples, channels, height, width) in [0, 1]; y int64 (tasks, examples), shot-major.

        The images lie on the device from the first call on.
        """
        ways, support, query = self.shape.ways, self.shape.ways * self.shape.shots, self.shape.ways * self.shape.query
        if drawn.dtype == torch.uint8:
            numbers = math.prod(self.input_shape)
            tasks = len(drawn) // ((support + query) * numbers + ways * CLASS_BYTES)
            pixels = drawn[: tasks * (support + query) * numbers].view(-1, numbers)
            classes = drawn[pixels.numel() :].clone().view(torch.int64)  # a copy lies where whole numbers may lie
        else:
            tasks = len(drawn) // (support + query + ways)
            rows, classes = torch.split(drawn, [tasks * (support + query), tasks * ways])
            pixels = self.images.on(drawn.device).index_select(0, rows)
        return episodes_of(pixels, classes, self.shape, self.input_shape, like)

    @cached_property
    def streamed(self) -> bool:
        """Whether the set is too large for a GPU that is there, so that meta-batches of pixels are copied to it."""
        size = self.images.images.nbytes
        if size <= ALWAYS_KEPT or not torch.cuda.is_available():
            return False
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return size > KEPT_SHARE * min(device.total_memory for device in devices)

    @cached_property
    def _faults(self) -> dict[Split, str]:
        """Why a split cannot serve tasks of this shape; empty where it can."""
        return {split: self._fault(split) for split in SPLITS}

    def _fault(self, split: Split) -> str:
        name, pool, shape = self.images.name, self.classes[split], self.shape
        if shape.ways > len(pool):
            sizes = ", ".join(f"{len(found)} for '{other}'" for other, found in self.classes.items())
            remedy = f"ask for {len(pool)} ways or fewer" if len(pool) > 1 else "add classes"
            return (
                f"{name} has {len(pool)} classes for '{split}', too few for {shape.ways} ways ({sizes}): "
                f"{remedy}, or split it otherwise"
            )
        counts = self.images.counts[pool]
        due = shape.shots + shape.query
        if int(counts.min()) >= due:
            return ""
        poor = pool[counts < due]
        least = int(pool[counts.argmin()])
        others = f", and {len(poor) - 1} more classes have too few" if len(poor) > 1 else ""
        return (
            f"class '{self.images.classes[least]}' of {name} has {int(self.images.counts[least])} images, and "
            f"{shape.shots} shots and {shape.query} queries need {due}{others}: ask for fewer, or take such classes out"
        )


def _distinct(counts: Tensor, uniform: Tensor) -> Tensor:
    """Different whole numbers below each of `counts` (tasks, ways): each set of them is as likely as any other.

    As many as `uniform` (tasks, numbers, ways) has, by Floyd's algorithm: its order is not random.
    """
    many = uniform.shape[1]
    chosen = torch.empty(uniform.shape, dtype=torch.int64)
    for number in range(many):
        last = counts - many + number
        found = (uniform[:, number] * (last + 1)).long()
        taken = (chosen[:, :number] == found[:, None]).any(1)
        chosen[:, number] = torch.where(taken, last, found)
    return chosen
