"""Sinusoid regression of Finn et al. (2017, §5.1): y = A sin(x - φ), A in [0.1, 5], φ in [0, π], x in [-5, 5]."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from metabench.errors import Unsupported
from metabench.tasks.base import ALL, TASKS, DeviceTasks, Drawn, EpisodeShape, Kind, Provenance, Split, TaskSource
from metabench.tensors import Batch, Task

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
DOMAIN = (-5.0, 5.0)


@dataclass(frozen=True)
class Sinusoid(DeviceTasks):
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

    def draw(self, split: Split, tasks: int, generator: torch.Generator, share: slice = ALL) -> Drawn:
        """Amplitude, phase and x of all points of each task, float32 (tasks, 2 + points).

        The splits differ by the generator's seed alone.
        """
        amplitude = _uniform(AMPLITUDE, (tasks, 1), generator)
        phase = _uniform(PHASE, (tasks, 1), generator)
        x = _uniform(DOMAIN, (tasks, self.shape.shots + self.shape.query), generator)
        return torch.cat((amplitude, phase, x), dim=1)[share]

    def make(self, drawn: Drawn, like: torch.Tensor) -> Task:
        """x and y of shape (tasks, points, 1); y is computed in the dtype of `like`."""
        amplitude, phase, x = _parts(drawn.to(like.dtype))
        y = amplitude * torch.sin(x - phase)
        k = self.shape.shots
        no_classes = torch.zeros(len(x), 1, dtype=torch.int64, device=drawn.device)
        return Task(Batch(x[:, :k], y[:, :k]), Batch(x[:, k:], y[:, k:]), no_classes)

    def curves(
        self, split: Split, tasks: int, points: int, generator: torch.Generator
    ) -> tuple[Task, torch.Tensor, torch.Tensor]:
        """Tasks as by `sample`, x (points, 1) over the whole domain, and the sinusoids there: (tasks, points, 1)."""
        drawn = self.draw(split, tasks, generator)
        amplitude, phase, _ = _parts(drawn)
        x = torch.linspace(*DOMAIN, points)[:, None]
        return self.make(drawn, drawn), x, amplitude * torch.sin(x - phase)


def _parts(drawn: Drawn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Amplitude and phase (tasks, 1, 1) and x (tasks, points, 1)."""
    return drawn[:, :1, None], drawn[:, 1:2, None], drawn[:, 2:, None]


def _uniform(bounds: tuple[float, float], size: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(size, generator=generator)


def build(shape: EpisodeShape, data_dir: Path | None) -> Sinusoid:
    """The sinusoids; `data_dir` is not used."""
    if shape.ways != 1:
        raise Unsupported(f"sinusoid is a regression task: ways must be 1, not {shape.ways}")
    return Sinusoid(shape)


TASKS.register("sinusoid")(TaskSource("regression", build, input_shape=(1,)))
