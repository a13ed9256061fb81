"""Sinusoid regression of Finn et al. (2017, §5.1): y = A sin(x - φ), A in [0.1, 5], φ in [0, π], x in [-5, 5]."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from metabench.errors import Unsupported
from metabench.tasks.base import ALL, TASKS, EpisodeShape, Kind, Provenance, Split, TaskSource
from metabench.tensors import Batch, Task

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
DOMAIN = (-5.0, 5.0)


@dataclass(frozen=True)
class Sinusoid:
    """Each task is one sinusoid; support and query points are drawn independently and uniformly."""

    shape: EpisodeShape

    kind: Kind = "regression"
    input_shape = (1,)
    outputs = 1
    training_classes = 0

    @property
    def provenance(self) -> Provenance:
        definition = f"sinusoid y=A*sin(x-phi) A={AMPLITUDE} phi={PHASE} x={DOMAIN}"
        return Provenance("sinusoid", hashlib.sha256(definition.encode()).hexdigest(), {"definition": definition})

    def sample(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Task:
        """x and y of shape (tasks, points, 1); the splits differ by the generator's seed alone."""
        return self._tasks(*_sinusoids(tasks, generator), generator, share)

    def curves(
        self, split: Split, tasks: int, points: int, generator: torch.Generator
    ) -> tuple[Task, torch.Tensor, torch.Tensor]:
        """Tasks as by `sample`, x (points, 1) over the whole domain, and the sinusoids there: (tasks, points, 1)."""
        amplitude, phase = _sinusoids(tasks, generator)
        x = torch.linspace(*DOMAIN, points)[:, None]
        return self._tasks(amplitude, phase, generator), x, amplitude * torch.sin(x - phase)

    def _tasks(
        self, amplitude: torch.Tensor, phase: torch.Tensor, generator: torch.Generator, share: slice = ALL
    ) -> Task:
        k = self.shape.shots
        x = _uniform(DOMAIN, (len(amplitude), k + self.shape.query, 1), generator)[share]
        y = amplitude[share] * torch.sin(x - phase[share])
        no_classes = torch.zeros(len(x), 1, dtype=torch.int64)
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), no_classes)


def _sinusoids(tasks: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Amplitudes and phases, (tasks, 1, 1) each."""
    return _uniform(AMPLITUDE, (tasks, 1, 1), generator), _uniform(PHASE, (tasks, 1, 1), generator)


def _uniform(bounds: tuple[float, float], size: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(size, generator=generator)


def build(shape: EpisodeShape, data_dir: Path | None) -> Sinusoid:
    """The sinusoids; `data_dir` is not used."""
    if shape.ways != 1:
        raise Unsupported(f"sinusoid is a regression task: ways must be 1, not {shape.ways}")
    return Sinusoid(shape)


TASKS.register("sinusoid")(TaskSource("regression", build))
