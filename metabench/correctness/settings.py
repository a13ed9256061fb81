"""The settings that implementations are proved in: small enough to take minutes for all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from metabench.algorithms.base import Algorithm, Learner
from metabench.correctness.case import Case
from metabench.models.base import MODELS
from metabench.tasks.base import TASKS, EpisodeShape, TaskDistribution


@dataclass(frozen=True)
class Setting:
    """One task, model and number of inner steps; rates are those of the published protocols, for mean losses."""

    task: str
    shape: EpisodeShape
    model: str
    inner_steps: int
    inner_lr: float

    def __str__(self) -> str:
        return f"{self.task}, {self.model}, inner steps: {self.inner_steps}"


_POINTS, _IMAGES = EpisodeShape(1, 10, 10), EpisodeShape(5, 1, 2)
SETTINGS = (
    Setting("sinusoid", _POINTS, "mlp-40x2", 1, 0.01),
    Setting("sinusoid", _POINTS, "mlp-40x2", 5, 0.01),
    Setting("glyphs", _IMAGES, "conv4-16", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8", 5, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-maxpool", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-nonorm", 1, 0.4),
    Setting("glyphs", _IMAGES, "conv2-8-nonorm", 5, 0.4),
)
"""Networks of two blocks: a compiler takes ten minutes for four, and two have every kind of layer."""
CONTRACT_SETTINGS = (SETTINGS[0], SETTINGS[2])
"""One of each kind of task; the contract has inner steps of its own."""


def case_of(algorithm: Callable[..., Algorithm], setting: Setting) -> Case:
    """What the contract tries on an algorithm's class in a setting."""
    learner, distribution = _problem(setting)
    return Case(algorithm, learner, setting.inner_lr, distribution)


@cache
def _problem(setting: Setting) -> tuple[Learner, TaskDistribution]:
    distribution = _distribution(setting.task, setting.shape)
    model = MODELS.get(setting.model)(distribution.input_shape, distribution.outputs)
    return Learner(model, distribution.kind, distribution.training_classes), distribution


@cache
def _distribution(task: str, shape: EpisodeShape) -> TaskDistribution:
    return TASKS.get(task).build(shape, None)
