"""MAML: model-agnostic meta-learning."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import MAML_PUBLISHED, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task


@ALGORITHMS.register("maml")
@dataclass(frozen=True)
class MAML(Algorithm):
    """θ ← θ - β Σ ∇_θ L(θ'ᵢ, queryᵢ), with θ'ᵢ = θ - α ∇L(θ, supportᵢ) differentiated through.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, algorithms 2 and 3.
    """

    order = "second"
    source = "Finn et al. 2017, arXiv 1703.03400, alg. 2"
    presets: ClassVar = MAML_PUBLISHED | {
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 0.01, 1, 10, 25, 10, 6_000),
        "quick/omniglot": quick("maml, trial 0", 0.4, 1, 3, 8, 1, 5_300, alike_iterations=2_500),
        "quick/miniimagenet": quick_colour(0.4, 1, 3),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return descend(self, self.learner.loss, meta, repeat(support, self.inner_steps))

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)
