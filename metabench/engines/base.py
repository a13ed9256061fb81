"""The engine contract and the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.registry import Registry
from metabench.tensors import Params, Task

Step: TypeAlias = Callable[[Params, Task], tuple[Params, dict[str, Tensor]]]
"""`(meta, episode batch) -> (direction, metrics)`, both averaged over the tasks of the batch."""


@dataclass(frozen=True)
class Engine:
    """`build(algorithm)` gives the step; it raises `Unsupported`, with the reason, for what it cannot carry."""

    summary: str
    build: Callable[[Algorithm], Step]
    compiles: bool = False
    """Whether the first step compiles: its excess over a later one is then reported as compile time."""
    autocasts: bool = True
    """Whether torch.autocast reaches what it runs: where it does not, bfloat16 would be float32 in part."""


ENGINES: Registry[Engine] = Registry("engine", "metabench.engines")
