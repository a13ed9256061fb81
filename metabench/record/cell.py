"""One point of a sweep, and everything that is derived from it alone."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, TypeAlias

from metabench.algorithms.inner_loop import InnerOptimizer
from metabench.algorithms.presets import Decay
from metabench.engines.outer import Outer
from metabench.record.schema import identity
from metabench.tasks.base import EpisodeShape
from metabench.training import BatchNorm

Measure: TypeAlias = Literal["time", "memory", "phases", "work", "energy", "quality"]
MEASURES: tuple[Measure, ...] = ("time", "memory", "phases", "work", "energy", "quality")
USUAL_MEASURES: tuple[Measure, ...] = ("time", "memory", "quality")
"""Where a sweep does not say."""

LATER: Mapping[str, Any] = {"world_size": 1}
"""Axes that came after runs had been committed, with the value of all cells before: left out of a cell's identity and
JSON where they have it, so that ids stay, and an older revision can measure the cell."""


@dataclass(frozen=True)
class Cell:
    """An implementation (algorithm on an engine) in one setting, with every hyper-parameter resolved."""

    algorithm: str
    engine: str
    task: str
    model: str
    inner_steps: int
    meta_batch: int
    ways: int
    shots: int
    query: int
    train_ways: int
    """Of the training tasks, as `train_shots` and `query`; `ways`, `shots` and `eval_query` are of held-out tasks."""
    train_shots: int
    inner_optimizer: InnerOptimizer
    first_order: float
    """Share of the iterations, from the first on, that take the inner gradients as constants."""
    checkpoint: bool
    precision: str
    device: str
    seed: int
    preset: str
    inner_lr: float
    eval_steps: int
    eval_query: int
    batch_norm: BatchNorm
    """What the queries of held-out tasks are normalised by."""
    outer: Literal["adam", "sgd"]
    outer_lr: float
    outer_decay: Decay
    outer_warmup: int
    outer_clip: float
    """Largest norm of a direction; 0 is none."""
    iterations: int
    eval_tasks: int
    threads: int
    """Of each process."""
    world_size: int
    """Processes, each with its share of the meta-batch."""
    measure: tuple[Measure, ...]

    @property
    def id(self) -> str:
        """16 hexadecimal digits that depend on everything but what is measured."""
        return identity(self.to_json())

    @property
    def implementation(self) -> str:
        """`algorithm/engine`"""
        return f"{self.algorithm}/{self.engine}"

    @property
    def setting(self) -> tuple[Any, ...]:
        """Equal for the cells that are matched but for algorithm, engine, technique and training."""
        return (self.task, self.model, self.precision, self.device, *(getattr(self, axis) for axis in SIZE_AXES))

    @property
    def shape(self) -> EpisodeShape:
        """How large a task is in training."""
        return EpisodeShape(self.train_ways, self.train_shots, self.query)

    @property
    def eval_shape(self) -> EpisodeShape:
        """How large a held-out task is."""
        return EpisodeShape(self.ways, self.shots, self.eval_query)

    @property
    def outer_setting(self) -> Outer:
        """The outer optimiser."""
        return Outer(self.outer, self.outer_lr, self.outer_decay, self.iterations, self.outer_warmup, self.outer_clip)

    def seed_for(self, purpose: Literal["init", "train", "validation", "test"]) -> int:
        """A seed derived from the shared axes, never from algorithm or engine: comparisons are matched.

        Initial weights depend on the model and the seed; training tasks on the episode shape and the seed; held-out
        tasks on their shape alone, so that all seeds and algorithms are judged on the same tasks.
        """
        parts: list[Any] = [purpose, self.task]
        if purpose == "init":
            parts += [self.ways, self.model, self.seed]
        elif purpose == "train":
            parts += [self.train_ways, self.train_shots, self.query, self.seed]
        else:
            parts += [self.ways, self.shots, self.eval_query]
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7])

    def describe(self) -> str:
        """One short line for progress and messages."""
        shape = f"{self.ways}-way {self.shots}-shot" if self.ways > 1 else f"{self.shots} points"
        return (
            f"{self.implementation} {self.task} {shape} {self.model} "
            f"steps={self.inner_steps} tasks={self.meta_batch} seed={self.seed}"
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; without the axes of `LATER` where they say nothing."""
        axes = {name: value for name, value in asdict(self).items() if name not in LATER or value != LATER[name]}
        return axes | {"measure": list(self.measure)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The cell of a plain dictionary."""
        return cls(**{**LATER, **data, "measure": tuple(data["measure"])})

    def with_measures_of(self, other: Self) -> Self:
        """This cell, asked for what either of the two is asked for."""
        return replace(self, measure=tuple(m for m in MEASURES if m in self.measure + other.measure))


AXES = frozenset(field.name for field in fields(Cell)) - {"measure"}

SIZE_AXES = ("inner_steps", "meta_batch", "ways", "shots", "query", "train_ways", "train_shots")


def is_larger(cell: Cell, other: Cell, size: Callable[[str], int]) -> bool:
    """Whether `cell` lies on the same line as `other` and needs at least as much memory.

    The same line: equal but for sizes (and seed); larger: no size smaller. `size` counts a model's parameters.
    """
    same = {"engine", "algorithm", "task", "precision", "device", "world_size"}
    same |= {"first_order", "checkpoint", "inner_optimizer"}
    if any(getattr(cell, name) != getattr(other, name) for name in same):
        return False
    if any(getattr(cell, name) < getattr(other, name) for name in SIZE_AXES):
        return False
    return cell.model == other.model or size(cell.model) > size(other.model)
