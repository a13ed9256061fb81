"""ANIL: almost no inner loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import MAML_PUBLISHED, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task


@ALGORITHMS.register("anil")
@dataclass(frozen=True)
class ANIL(Algorithm):
    """MAML whose inner loop adapts the head alone; the body is learned by the outer loop.

    Raghu et al. 2020, arXiv 1909.09157, §4. The features of the support set do not change while the head adapts,
    so they are computed once.
    """

    order = "second"
    source = "Raghu et al. 2020, arXiv 1909.09157, §4"
    presets: ClassVar = MAML_PUBLISHED | {
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 0.01, 1, 10, 25, 10, 6_000),
        "quick/omniglot": quick("anil, trial 0", 2.0, 3, 5, 8, 1, 11_000),
        "quick/miniimagenet": quick_colour(2.0, 3, 5),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        head = {name: p for name, p in meta.items() if name in self.learner.model.head_names}
        features = Batch(self.learner.model.features(meta, support.x), support.y)
        for adapted in descend(self, self._loss, head, repeat(features, self.inner_steps)):
            yield meta | adapted

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return self.learner.model.head_names

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)

    def _loss(self, head: Params, features: Batch) -> Tensor:
        return self.learner.loss_of(self.learner.model.head(head, features.x), features.y)
