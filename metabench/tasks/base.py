"""The contract of a task distribution and the registry of them."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import torch
from torch import Tensor

from metabench.errors import UserError, unknown
from metabench.registry import Registry
from metabench.tensors import Task

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Kind: TypeAlias = Literal["classification", "regression"]


ALL = slice(None)
"""Every task of an episode batch."""


@dataclass(frozen=True)
class EpisodeShape:
    """How large a task is: `ways` classes, `shots` support and `query` query examples of each.

    In regression there is one "way": `shots` and `query` are numbers of points.
    """

    ways: int
    shots: int
    query: int


@dataclass(frozen=True)
class Provenance:
    """Where the data of a task distribution comes from: what stands beside every figure measured on it."""

    name: str
    """What the data is called in tables; a stand-in never bears the name of what it stands in for."""
    content_hash: str
    """SHA-256 of the data, or of the definition of a synthetic distribution."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Anything else worth recording: source, split sizes and seed, augmentation."""


class TaskDistribution(Protocol):
    """Seeded, vectorised sampler of episode batches. Splits share no class.

    A distribution that extends `DeviceTasks` too makes its tasks on the device; of any other, tasks are made on the
    CPU by `sample` and then copied. `metabench.tasks.stream` is what asks a distribution for tasks.
    """

    @property
    def kind(self) -> Kind: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def outputs(self) -> int: ...
    @property
    def training_classes(self) -> int:
        """Classes of the training split that `Task.classes` tells apart; 0 where classes have no identity."""
        ...

    @property
    def provenance(self) -> Provenance: ...

    def sample(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Task:
        """An episode batch of `tasks` tasks on the CPU, a function of the arguments alone: `generator` decides all.

        Inputs are float32 and finite, or int64 if they are indices (tokens).

        Only the tasks in `share` are made: those that the whole batch has there, and the generator is left as by the
        whole. So processes that share a meta-batch agree on its tasks, and each makes only its own.

        x has the shape (tasks, examples, *input_shape). Classification: y (tasks, examples) int64, shot-major; images
        are (channels, height, width). Regression: y (tasks, points, outputs) float32. `metabench verify --task NAME`
        holds a distribution to all of this, and the quick part of it is checked before a cell is measured.
        """
        ...


Drawn: TypeAlias = Tensor
"""The random choices that decide an episode batch: one small tensor, so that one copy takes it to a device."""


class DeviceTasks(ABC):
    """Base class of a task distribution whose tasks are decided on the CPU and made on any device.

    The CPU's generator draws, so that tasks are the same on every device; what is large is made where it is needed.
    `sample` follows from the two methods, and a subclass must not define it: raises `TypeError` if one does, since
    tasks that are made on the device would not be those of `sample`.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "sample" in vars(cls):
            raise TypeError(f"{cls.__name__} defines sample, which is made of draw and make: define those two instead")

    @abstractmethod
    def draw(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Drawn:
        """The random choices of `tasks` tasks, of which those in `share` are returned, as one tensor on the CPU.

        Its shape and dtype depend on nothing but the numbers of tasks in all and in `share`. The generator is left as
        if the whole had been asked for.
        """

    @abstractmethod
    def make(self, drawn: Drawn, like: Tensor) -> Task:
        """The tasks that `draw` decided on, with the floating dtype of `like`; `drawn` is on the device of `like`.

        Their shapes are those of `TaskDistribution.sample`. On a GPU it must not wait for the device.
        """

    def sample(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Task:
        """An episode batch on the CPU with float32 inputs, as `TaskDistribution.sample` says."""
        return self.make(self.draw(split, tasks, generator, share), torch.zeros((), dtype=torch.float32))


@runtime_checkable
class Drawable(Protocol):
    """What a regression task distribution of one input and one output may offer beside: its functions themselves."""

    def curves(self, split: Split, tasks: int, points: int, generator: torch.Generator) -> tuple[Task, Tensor, Tensor]:
        """Tasks as by `sample`, and their functions without noise at even intervals of the whole domain.

        x (points, 1), in rising order; y (tasks, points, 1).
        """
        ...


@runtime_checkable
class ClassSplits(Protocol):
    """What a classification task distribution may offer beside: the identities of the classes of each split.

    `metabench verify` then proves that splits share no class; of any other, it can only look for common examples.
    """

    @property
    def classes(self) -> Mapping[Split, Tensor]:
        """The classes of each split, int64 (classes of the split,), numbered over the whole data set."""
        ...


def splits_of(distribution: TaskDistribution) -> tuple[Split, ...]:
    """The splits that tasks are drawn from: all, but for validation where it is known to have no class."""
    known = distribution.classes if isinstance(distribution, ClassSplits) else {}
    empty = isinstance(known, Mapping) and "validation" in known and len(known["validation"]) == 0
    return tuple(split for split in SPLITS if split != "validation" or not empty)


TaskFactory: TypeAlias = Callable[..., TaskDistribution]
"""`(shape, data_dir) -> TaskDistribution`; the axes of `TaskSource.axes` come as keywords.

Raises `UserError` when the data cannot be had, `Unsupported` when the shape cannot be served (more ways than there are
classes)."""


@dataclass(frozen=True)
class TaskSource:
    """What a task distribution is registered as: what is known of it before its data is looked for."""

    kind: Kind
    build: TaskFactory
    axes: tuple[str, ...] = ()
    """Axes of a cell beside the shape of a task that it takes, each with a default: `path`, `split`, `image_size`,
    `eval_classes`, `rotation` and `eval_rotation`. `build` takes all but the last; its `rotation` is that of the tasks
    to be built."""
    input_shape: tuple[int, ...] = ()
    """The shape of an input; empty where only the data can tell."""
    peek: Callable[..., tuple[int, ...]] | None = None
    """The likely shape of an input, at once and from the same axes; None where nobody can tell before it is built."""
    splits: tuple[str, ...] = ()
    """What its axis `split` takes: names, and patterns of names of files, such as `*.json`."""

    def on(self, shape: EpisodeShape, data_dir: Path | None, choices: Mapping[str, Any]) -> TaskDistribution:
        """The task distribution on the data that are chosen; raises what `build` raises, and `UserError` for a split
        that it does not take."""
        taken = {axis: value for axis, value in choices.items() if axis in self.axes}
        if "split" in taken:
            check_split(taken["split"], [self])
        return self.build(shape, data_dir, **taken)

    def likely_shape(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """The likely shape of an input, at once; empty where nobody can tell. Raises what `peek` raises."""
        shape, size = self.input_shape, choices.get("image_size", 0)
        if not shape and self.peek:
            return self.peek(**{axis: value for axis, value in choices.items() if axis in self.axes})
        return (*shape[:1], size, size) if size and len(shape) == 3 else shape

    def relative(self, choices: Mapping[str, Any]) -> str:
        """The nearest task of the suite: where an algorithm has no presets for this one, it takes those.

        Images count as colour images where nobody can tell.
        """
        if self.kind == "regression":
            return "sinusoid"
        try:
            shape = self.likely_shape(choices)
        except UserError:  # whoever builds the task says so
            shape = ()
        return "omniglot" if len(shape) == 3 and shape[0] == 1 else "miniimagenet"


def check_split(rule: str, sources: Iterable[TaskSource]) -> None:
    """Raise `UserError` unless one of the task distributions can be split so."""
    known = tuple(dict.fromkeys(name for source in sources for name in source.splits))
    if rule not in known and not any("*" in name and fnmatchcase(rule.lower(), name) for name in known):
        raise unknown("split", rule, known)


def accepted(found: object) -> TaskSource:
    """The task distribution that a name by path stands for: what `regression` gives, or a function or class with a
    `kind`, called as `(shape, data_dir)` or as `(shape)`, which gives a `TaskDistribution`.

    Raises `UserError` for anything else.
    """
    if isinstance(found, TaskSource):
        return found
    name = getattr(found, "__name__", type(found).__name__)
    if not callable(found):
        raise UserError(
            f"'{name}' is no task distribution: it must be a class or function (shape, data_dir) with a kind, "
            "or what metabench.regression gives"
        )
    kind: Any = getattr(found, "kind", None)
    if kind not in get_args(Kind):
        raise UserError(
            f'\'{name}\' must say its kind of task: give it kind = "classification" or kind = "regression", '
            "or decorate it with metabench.regression"
        )
    shape = getattr(found, "input_shape", ())
    known = isinstance(shape, tuple) and all(isinstance(size, int) for size in shape)
    return TaskSource(kind, _factory(found), input_shape=shape if known else ())


def _factory(found: Callable[..., TaskDistribution]) -> TaskFactory:
    """The factory with two arguments, whether or not `found` takes the folder of the data."""
    try:
        taken = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return found
    positional = [each for each in taken if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    due = [each for each in positional if each.default is each.empty]
    if len(due) == 2 or any(each.name == "data_dir" for each in taken):
        return found
    return lambda shape, data_dir: found(shape)


TASKS: Registry[TaskSource] = Registry("task", "metabench.tasks", accept=accepted)
