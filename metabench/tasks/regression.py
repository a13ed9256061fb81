"""Regression tasks from a function of a user's own: several inputs and several outputs, in a few lines.

@regression(inputs=2, outputs=3)
def surface(tasks, points, generator):
    slope = torch.randn(tasks, 2, 3, generator=generator)
    x = torch.rand(tasks, points, 2, generator=generator)
    return x, torch.sin(x @ slope)
"""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from metabench.errors import Unsupported, UserError
from metabench.tasks.base import ALL, DeviceTasks, Drawn, EpisodeShape, Kind, Provenance, Split, TaskSource
from metabench.tensors import Batch, Task

Function: TypeAlias = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]
"""`(tasks, points, generator) -> x, y`: x (tasks, points, inputs) and y (tasks, points, outputs), on the CPU."""


@dataclass(frozen=True)
class FunctionTasks(DeviceTasks):
    """Tasks that a function draws. The first `shape.shots` points of each are its support set.

    The splits differ by the generator's seed alone.
    """

    function: Function
    inputs: int
    outputs: int
    name: str
    shape: EpisodeShape

    kind: Kind = "regression"
    training_classes = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One number for each input."""
        return (self.inputs,)

    @property
    def provenance(self) -> Provenance:
        """Hashed by the text of the function, and by how many inputs and outputs it has."""
        text = _text(self.function)
        definition = f"{self.inputs} inputs, {self.outputs} outputs\n{text}"
        return Provenance(self.name, hashlib.sha256(definition.encode()).hexdigest(), {"definition": text})

    def draw(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Drawn:
        """Inputs and outputs of all points side by side, float32 (tasks, points, inputs + outputs)."""
        points = self.shape.shots + self.shape.query
        drawn = self.function(tasks, points, generator)
        if not isinstance(drawn, tuple) or len(drawn) != 2:
            raise UserError(f"'{self.name}' gives {_kind_of(drawn)}, where two tensors x, y are due")
        x = self._checked("x", drawn[0], (tasks, points, self.inputs))
        y = self._checked("y", drawn[1], (tasks, points, self.outputs))
        return torch.cat((x, y), dim=-1)[share]

    def make(self, drawn: Drawn, like: Tensor) -> Task:
        """x (tasks, points, inputs) and y (tasks, points, outputs)."""
        x, y = torch.split(drawn.to(like.dtype), [self.inputs, self.outputs], dim=-1)
        k = self.shape.shots
        no_classes = torch.zeros(len(x), 1, dtype=torch.int64, device=drawn.device)
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), no_classes)

    def _checked(self, name: str, tensor: object, due: tuple[int, ...]) -> Tensor:
        axes = f"(tasks, points, {'inputs' if name == 'x' else 'outputs'}) = {due}"
        if not isinstance(tensor, Tensor):
            raise UserError(f"{name} of '{self.name}' is {_kind_of(tensor)}, where a tensor of shape {axes} is due")
        if tuple(tensor.shape) != due:
            raise UserError(f"{name} of '{self.name}' has shape {tuple(tensor.shape)}, where {axes} is due")
        return tensor.detach().to("cpu", torch.float32)


def regression(inputs: int = 1, outputs: int = 1, name: str = "") -> Callable[[Function], TaskSource]:
    """A decorator that turns a function into regression tasks: `(tasks, points, generator) -> x, y`.

    x has the shape (tasks, points, inputs) and y (tasks, points, outputs). All that is random comes from `generator`.
    Each task is one function of x: the first points are its support set, the others its query set. `name` is what the
    data is called in tables; without it, that is the name of the function. Raises `UserError` for what is no function
    and for no inputs or outputs.
    """
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 1 for count in (inputs, outputs)):
        raise UserError(f"regression takes one input and one output or more, not {inputs!r} and {outputs!r}")

    def make(function: Function) -> TaskSource:
        if not callable(function):
            raise UserError("regression makes tasks of a function (tasks, points, generator) -> x, y")
        called = name or getattr(function, "__name__", type(function).__name__)

        def build(shape: EpisodeShape, data_dir: Path | None) -> FunctionTasks:
            if shape.ways != 1:
                raise Unsupported(f"{called} is a regression task: ways must be 1, not {shape.ways}")
            return FunctionTasks(function, inputs, outputs, called, shape)

        return TaskSource("regression", build, input_shape=(inputs,))

    return make


def _text(function: Function) -> str:
    """The lines that define a function. Raises `UserError` where Python does not have them, such as after `exec`."""
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        raise UserError(
            "the text of a regression function is recorded with its figures, and Python has none of this one: "
            "define it in a file or in a cell of a notebook"
        ) from None


def _kind_of(value: object) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"an object of type {type(value).__name__}"
