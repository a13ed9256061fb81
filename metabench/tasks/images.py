"""N-way K-shot classification of packed character images, after the protocol of Finn et al. (2017, §5.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metabench.errors import Unsupported
from metabench.record.cell import EvalClasses, Rotation
from metabench.tasks.base import ALL, DeviceTasks, Drawn, EpisodeShape, Kind, Provenance, Split
from metabench.tasks.characters import BY_NAME, Characters, split_by
from metabench.tasks.image_set import episodes_of
from metabench.tasks.packed import DRAWINGS, QUARTERS, SIDE, PackedImages
from metabench.tensors import Task

_AUGMENTATION: Mapping[Rotation, str] = {
    "random": "one random rotation by a multiple of 90 degrees per class and episode",
    "classes": "rotations by multiples of 90 degrees, each of which makes a class of its own",
    "episode": "one random rotation by a multiple of 90 degrees per episode",
    "none": "none",
}


@dataclass(frozen=True, eq=False)
class ImageTasks(DeviceTasks):
    """Episodes of `shape.ways` characters; splits share no character, unless test tasks are to be made of any.

    Raises `Unsupported` when a class would need more than its 20 drawings, or a task more classes than the training
    or the test split has.
    """

    images: PackedImages
    shape: EpisodeShape
    rotation: Rotation = "random"
    split: str = BY_NAME
    """Which characters are for training, validation and testing: one of `characters.RULES`."""
    eval_classes: EvalClasses = "new"
    """Which characters test tasks are made of: those for testing, or any."""

    kind: Kind = "classification"
    input_shape = (1, SIDE, SIDE)

    def __post_init__(self) -> None:
        ways, shots, query = self.shape.ways, self.shape.shots, self.shape.query
        if min(ways, shots, query) < 1:
            raise Unsupported(f"{self.images.name} needs at least one way, one shot and one query, not {self.shape}")
        if shots + query > DRAWINGS:
            raise Unsupported(
                f"{self.images.name} has {DRAWINGS} drawings of each character: {shots} shots and {query} queries"
                f" need {shots + query}"
            )
        self._require_ways("train")
        self._require_ways("test")

    @property
    def outputs(self) -> int:
        """The number of classes of a task."""
        return self.shape.ways

    @property
    def training_classes(self) -> int:
        """Training characters, each in four orientations."""
        return QUARTERS * len(self.classes["train"])

    @property
    def provenance(self) -> Provenance:
        """Named after the data, hashed by its source; the details record split, pixels and augmentation."""
        return Provenance(
            self.images.name,
            self.images.source_hash,
            {
                "origin": self.images.origin,
                "pixel_hash": self.images.pixel_hash,
                "split": ", ".join(f"{name} {len(classes)}" for name, classes in self.classes.items()),
                **self._division[1],
                "augmentation": _AUGMENTATION[self.rotation],
            },
        )

    @property
    def classes(self) -> Characters:
        """Places of the characters of each split, int64 (characters of the split,)."""
        return self._division[0]

    @cached_property
    def _division(self) -> tuple[Characters, Mapping[str, str]]:
        found, details = split_by(self.split, self.images)
        if self.eval_classes == "any":
            found = {**found, "test": torch.cat(list(found.values())).sort().values}
            details = {**details, "test_classes": "any, those of training among them"}
        return found, details

    def draw(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Drawn:
        """Which images and which classes, int64, flat: the rows of `PackedImages.turned` that the support sets consist
        of, those of the query sets, and `Task.classes`.

        Drawn without replacement: classes within a task, in random order, and drawings within a class; one rotation
        for all drawings of a class. The classes drawn do not depend on the shots. Unless rotations make classes, they
        do not depend on the rotation either. Raises `Unsupported` when the split has fewer classes than ways.
        """
        self._require_ways(split)
        pool = self.classes[split]
        ways, shots = self.shape.ways, self.shape.shots
        # The places of the largest of independent uniforms are a uniform draw without replacement, in random order.
        places = torch.rand(tasks, self._available(split), generator=generator)[share].topk(ways).indices
        # Turns are drawn in any case, so that tasks match without them.
        turns = torch.randint(QUARTERS, (tasks, ways), generator=generator)[share]
        order = torch.rand(tasks, DRAWINGS, ways, generator=generator)[share].argsort(dim=1)
        if self.rotation == "none":
            turns = torch.zeros_like(turns)
        elif self.rotation == "episode":
            turns = turns[:, :1].expand_as(turns)
        elif self.rotation == "classes":
            places, turns = places // QUARTERS, places % QUARTERS
        upright = pool[places] * DRAWINGS  # (tasks, ways)
        first = upright + turns * (len(self.images.characters) * DRAWINGS)
        rows = first[:, None] + order[:, : shots + self.shape.query]  # (tasks, drawings, ways)
        chosen = (rows[:, :shots], rows[:, shots:], places * QUARTERS + turns)
        return torch.cat([part.reshape(-1) for part in chosen])

    def make(self, drawn: Drawn, like: Tensor) -> Task:
        """x (tasks, examples, 1, SIDE, SIDE) in [0, 1] with ink = 1; y int64 (tasks, examples), shot-major.

        The images lie on the device from the first call on.
        """
        ways, support, query = self.shape.ways, self.shape.ways * self.shape.shots, self.shape.ways * self.shape.query
        tasks = len(drawn) // (support + query + ways)
        rows, classes = torch.split(drawn, [tasks * (support + query), tasks * ways])
        # One gather for support and query sets together: on a GPU each operation costs a launch.
        pixels = self.images.turned(drawn.device).index_select(0, rows)
        return episodes_of(pixels, classes, self.shape, self.input_shape, like)

    def _available(self, split: Split) -> int:
        """How many classes a task of the split is drawn from."""
        return len(self.classes[split]) * (QUARTERS if self.rotation == "classes" else 1)

    def _require_ways(self, split: Split) -> None:
        available = self._available(split)
        if self.shape.ways > available:
            turned = f", {available} with their rotations" if self.rotation == "classes" else ""
            raise Unsupported(
                f"{self.images.name} has {len(self.classes[split])} characters for '{split}'{turned}: "
                f"too few for {self.shape.ways} ways"
            )
