"""The engine contract and the registry."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.engines.outer import DESCENT, MetaOptimizer, Outer
from metabench.errors import UserError
from metabench.registry import Registry, described
from metabench.tensors import Params, Task, task_at

Step: TypeAlias = Callable[[Params, Task], tuple[Params, dict[str, Tensor]]]
"""`(meta, episode batch) -> (direction, metrics)`, both averaged over the tasks of the batch."""


class OuterState(NamedTuple):
    """What an outer update reads and writes: tensors of the engine's own, or copies of them."""

    meta: Params
    means: Params
    """Adam's first moments; empty for plain descent."""
    squares: Params
    """Adam's second moments; empty for plain descent."""
    updates: int
    """Updates so far."""


class Iteration(Protocol):
    """Meta-iterations (directions, their average, outer update) on arrays of the engine's own."""

    def take(self, episodes: Task) -> Any:
        """An episode batch of torch tensors as the engine holds it."""
        ...

    def run(self, episodes: Any) -> Mapping[str, Any]:
        """One meta-iteration, and its metrics (`loss`), which `float` can read; it may return before it is done."""
        ...

    def wait(self) -> None:
        """Wait until all that was begun is done."""
        ...

    @property
    def held(self) -> int:
        """Bytes that the engine works in and keeps from one iteration to the next, beyond parameters and moments."""
        ...

    @property
    def choices(self) -> Mapping[str, str]:
        """Choices that the engine has made by itself, by what they were made for: they stand in the row."""
        ...

    @property
    def meta(self) -> Params:
        """The current meta-parameters. Setting them begins anew, but keeps what an outer optimiser remembers."""
        ...

    @meta.setter
    def meta(self, meta: Params) -> None: ...

    @property
    def outer_state(self) -> OuterState:
        """What the outer optimiser holds now: by it, what `run` did is proved right."""
        ...

    def set_rate(self, rate: float) -> None:
        """Give all later updates that outer rate, without compiling anything anew."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """Iterations that take back what their outer optimiser held.

    By it a training is resumed in the middle, and the iterations of one stage of a training go on from those of the
    stage before. Iterations that lack it begin anew.
    """

    def restore(self, state: OuterState) -> None:
        """Go on from that state, whose tensors are copied."""
        ...


class Allocator(Protocol):
    """Allocator of a device's memory for a library other than torch. All sizes are in bytes."""

    def in_use(self) -> int:
        """Bytes that the library's arrays hold now."""
        ...

    def peak(self) -> int:
        """The most bytes that the library's arrays have held since the process began."""
        ...

    def reserved(self) -> int | None:
        """The most bytes taken from the driver since the process began; None where the library keeps no count."""
        ...

    def limit(self) -> int | None:
        """The most bytes that the library will hand out; None where that is not known."""
        ...

    def hold(self, size: int) -> Callable[[], object]:
        """Hand out `size` bytes or a little more, until the returned function is called. Raises MemoryError."""
        ...


Foreign: TypeAlias = Callable[[torch.device], Allocator | None]
"""The allocator of a library on a device, or None where there is nothing to be asked."""

Start: TypeAlias = Callable[[Algorithm, Params, Outer], Iteration]
"""`(algorithm, initial meta-parameters, outer optimiser) -> iterations`; the tensors given are not written to."""


@dataclass(frozen=True)
class Engine:
    """`build(algorithm)` gives the step; it raises `Unsupported`, with the reason, for what it cannot carry."""

    summary: str
    build: Callable[[Algorithm], Step]
    start: Start | None = None
    """Whole iterations of the engine's own; without them its step and torch's optimiser make an iteration."""
    library: str = ""
    """Package that does the work, if it is not torch: its version stands beside the figures."""
    compiles: bool = False
    """Whether the first step compiles: its excess over a later one is then reported as compile time."""
    kept: Callable[[], int] | None = None
    """How many compiled pieces it keeps on disk, if any: when that grows, the compile time is of a cold cache."""
    autocasts: bool = True
    """Whether torch.autocast reaches all that the engine runs, whole iterations that are started under it included.
    Otherwise bfloat16 would be float32 in part."""
    concurrent_tasks: bool | None = None
    """Whether it holds all tasks of a meta-batch at once (memory grows with them) or one after the other; None where
    that is not known."""
    foreign: Foreign | None = None
    """Function that gives the allocator of the engine's own library on a device; None where arrays are torch's. On a
    processor, the memory of such an engine is that of the whole process."""

    @property
    def version(self) -> str:
        """Version of the engine's own library; empty where it has none, or where that is not installed."""
        try:
            return metadata.version(self.library) if self.library else ""
        except metadata.PackageNotFoundError:
            return ""

    @property
    def is_installed(self) -> bool:
        """Whether the engine's own library is there, or it needs none."""
        return not self.library or bool(self.version)


def accepted(found: object) -> Engine:
    """What a name by path stands for, as an engine: an `Engine`, or a function that builds a step."""
    if isinstance(found, Engine):
        return found
    wanted = "where an Engine or a function build(algorithm), which returns step(meta, episodes), is needed"
    if isinstance(found, type) or not callable(found):
        raise UserError(f"it is {described(found)}, {wanted}")
    try:
        inspect.signature(found).bind(None)
    except (TypeError, ValueError):
        raise UserError(f"it cannot be called with an algorithm alone, {wanted}") from None
    return Engine((inspect.getdoc(found) or "").partition("\n")[0], found)


ENGINES: Registry[Engine] = Registry("engine", "metabench.engines", accept=accepted)


def in_process() -> list[str]:
    """Names of the engines that need no library and no compiler: they are tried where seconds count."""
    return [name for name, engine in ENGINES if not engine.library and not engine.compiles]


class Stepwise:
    """Iterations made of a step, which may be replaced between two of them, and torch's optimiser."""

    def __init__(self, step: Step, meta: Params, outer: Outer) -> None:
        self.step = step
        self.optimizer = MetaOptimizer({name: p.clone() for name, p in meta.items()}, outer)

    def take(self, episodes: Task) -> Task:
        return episodes

    def run(self, episodes: Task) -> dict[str, Tensor]:
        direction, metrics = self.step(self.optimizer.meta, episodes)
        self.optimizer.update(direction)
        return metrics

    def wait(self) -> None:
        if next(iter(self.meta.values())).device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def held(self) -> int:
        return 0

    @property
    def choices(self) -> Mapping[str, str]:
        return {}

    @property
    def meta(self) -> Params:
        return self.optimizer.meta

    @meta.setter
    def meta(self, meta: Params) -> None:
        for name, p in self.optimizer.meta.items():
            p.copy_(meta[name])

    @property
    def outer_state(self) -> OuterState:
        own = self.optimizer
        adam = own.outer.optimizer == "adam"
        means, squares = (dict(zip(own.meta, each, strict=True)) if adam else {} for each in (own.means, own.squares))
        return OuterState(own.meta, means, squares, own.iteration)

    def restore(self, state: OuterState) -> None:
        self.optimizer.restore(state.meta, state.means, state.squares, state.updates)

    def set_rate(self, rate: float) -> None:
        self.optimizer.outer = self.optimizer.outer.at_rate(rate)


def by_unit_descent(start: Start) -> Callable[[Algorithm], Step]:
    """`build` of an engine that has iterations: the direction is what plain descent with rate 1 subtracts.

    Exact to rounding of the meta-parameters, which float64 leaves room for.
    """

    def build(algorithm: Algorithm) -> Step:
        start(algorithm, algorithm.init(torch.Generator()), DESCENT)  # what cannot be carried is refused here

        begun: dict[object, Iteration] = {}

        def step(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
            signature = tuple((name, p.shape, p.dtype, p.device) for name, p in meta.items())
            if signature in begun:
                begun[signature].meta = meta
            else:
                begun[signature] = start(algorithm, meta, DESCENT)
            iteration = begun[signature]
            seen = iteration.run(iteration.take(episodes))
            after = iteration.meta
            like = next(iter(meta.values())).new_empty((), dtype=torch.float64)
            metrics = {name: torch.full_like(like, float(value)) for name, value in seen.items()}
            return {name: p - after[name] for name, p in meta.items()}, metrics

        return step

    return build


def mean_over_tasks(task_direction: Callable[[Params, Task], tuple[Params, dict[str, Tensor]]]) -> Step:
    """A step that takes one task after the other; what a task needs is freed before the next begins."""

    def step(meta: Params, episodes: Task) -> tuple[Params, dict[str, Tensor]]:
        tasks = episodes.support.x.shape[0]
        direction, metrics = task_direction(meta, task_at(episodes, 0))
        for i in range(1, tasks):
            more_direction, more_metrics = task_direction(meta, task_at(episodes, i))
            direction = {name: tensor + more_direction[name] for name, tensor in direction.items()}
            metrics = {name: tensor + more_metrics[name] for name, tensor in metrics.items()}
        return {name: d / tasks for name, d in direction.items()}, {name: m / tasks for name, m in metrics.items()}

    return step
