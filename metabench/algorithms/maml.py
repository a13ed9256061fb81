"""MAML: model-agnostic meta-learning."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm, Preset
from metabench.algorithms.inner_loop import descend
from metabench.tensors import Batch, Params, Task

_CODE = "arXiv 1703.03400 and the authors' code, whose summed loss makes 0.4 (5-way) and 0.1 (20-way) both 2.0 here"


@ALGORITHMS.register("maml")
@dataclass(frozen=True)
class MAML(Algorithm):
    """θ ← θ - β Σ ∇_θ L(θ'ᵢ, queryᵢ), with θ'ᵢ = θ - α ∇L(θ, supportᵢ) differentiated through.

    Finn, Abbeel and Levine 2017, arXiv 1703.03400, algorithms 2 and 3.
    """

    order = "second"
    source = "Finn et al. 2017, arXiv 1703.03400, alg. 2"
    presets: ClassVar = {
        "published/sinusoid": Preset("arXiv 1703.03400, §5.1", "mlp-40x2", 0.01, 1, 10, 25, 10, 70_000),
        "published/omniglot-5way": Preset(_CODE, "conv4-64", 2.0, 1, 3, 32, 1, 60_000),
        "published/omniglot-5way-5shot": Preset(_CODE, "conv4-64", 2.0, 1, 3, 32, 5, 60_000),
        "published/omniglot-20way": Preset(_CODE, "conv4-64", 2.0, 5, 5, 16, 1, 60_000),
        "published/omniglot-20way-5shot": Preset(_CODE, "conv4-64", 2.0, 5, 5, 16, 5, 60_000),
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 0.01, 1, 10, 25, 10, 20_000),
        "quick/omniglot": Preset("ours, for a laptop", "conv4-64", 0.4, 1, 3, 4, 5, 3_000, "adam", 2e-3, "linear"),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return descend(self.autodiff, self.learner.loss, meta, repeat(support, self.inner_steps), self.inner_lr)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)
