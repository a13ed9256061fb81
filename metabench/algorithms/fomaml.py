"""First-order MAML."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import MAML_PUBLISHED, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task


@ALGORITHMS.register("fomaml")
@dataclass(frozen=True)
class FOMAML(Algorithm):
    """θ ← θ - β Σ ∇_φ L(φ, queryᵢ) at φ = θ'ᵢ: the adapted parameters are taken as constants plus θ.

    Finn et al. 2017, arXiv 1703.03400, §5.2; named and analysed by Nichol et al. 2018, arXiv 1803.02999, §2.
    """

    order = "first"
    source = "Finn et al. 2017, arXiv 1703.03400, §5.2"
    presets: ClassVar = MAML_PUBLISHED | {
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 0.01, 1, 10, 25, 10, 6_000),
        "quick/omniglot": quick("fomaml, trial 1", 0.4, 1, 3, 4, 1, 21_000),
        "quick/miniimagenet": quick_colour(0.4, 2, 3),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return descend(self, self.learner.loss, meta, repeat(support, self.inner_steps))

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        adapted = self.adapt(meta, task.support)
        direction, loss = self.autodiff.gradient_and_value(self.learner.loss)(adapted, task.query)
        return direction, {"loss": loss}

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(anchor, task.support)
        shifted = {name: meta[name] + (adapted[name] - anchor[name]) for name in meta}
        return self.learner.loss(shifted, task.query)
