"""`metabench verify`: the correctness gate over implementations, in settings small enough to take a minute."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.engines.base import ENGINES
from metabench.errors import Unsupported
from metabench.measure.gate import Gate, gate
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


_POINTS, _IMAGES = EpisodeShape(1, 10, 10), EpisodeShape(5, 1, 2)
SETTINGS = tuple(
    Setting(task, shape, model, steps, lr)
    for task, shape, model, lr in (
        ("sinusoid", _POINTS, "mlp-40x2", 0.01),
        ("glyphs", _IMAGES, "conv4-16", 0.4),
        ("glyphs", _IMAGES, "conv4-16-maxpool", 0.4),
        ("glyphs", _IMAGES, "conv4-16-nonorm", 0.4),
    )
    for steps in (1, 5)
)


@dataclass(frozen=True)
class Verdict:
    """One implementation in one setting: its errors, or why it cannot be checked."""

    implementation: str
    setting: Setting
    gate: Gate | None
    reason: str

    @property
    def word(self) -> str:
        """`ok`, `incorrect` or `unsupported`."""
        if self.gate is None:
            return "unsupported"
        return "ok" if self.gate.passed else "incorrect"


def verify(algorithms: Sequence[str], engines: Sequence[str], settings: Sequence[Setting]) -> Iterator[Verdict]:
    """Put every algorithm on every engine through the gate, on the CPU in float64."""
    distributions: dict[tuple[str, EpisodeShape], TaskDistribution] = {}
    for setting in settings:
        key = (setting.task, setting.shape)
        if key not in distributions:
            distributions[key] = TASKS.get(setting.task).build(setting.shape, None)
        for algorithm in algorithms:
            for engine in engines:
                yield _verify(algorithm, engine, setting, distributions[key])


def _verify(algorithm: str, engine: str, setting: Setting, distribution: TaskDistribution) -> Verdict:
    name = f"{algorithm}/{engine}"
    model = MODELS.get(setting.model)(distribution.input_shape, distribution.outputs)
    learner = Learner(model, distribution.kind, distribution.training_classes)
    try:
        built = ALGORITHMS.get(algorithm)(learner, setting.inner_lr, setting.inner_steps)
        result = gate(built, ENGINES.get(engine).build(built), distribution, torch.device("cpu"))
    except Unsupported as error:
        return Verdict(name, setting, None, str(error))
    return Verdict(name, setting, result, result.reason)
