"""CAVIA: fast context adaptation."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.errors import Unsupported
from metabench.models.base import glorot
from metabench.tensors import Batch, Params, Task

_SINUSOID = (
    "arXiv 1810.03642, §5.1, and the authors' code. Not done here: that code starts from torch's own initialisation, "
    "clips each number of a task's direction to ±10, and tests the best, on validation tasks, of models 5000 "
    "iterations apart, on 100 tasks at 100 even points"
)


@ALGORITHMS.register("cavia")
@dataclass(frozen=True)
class CAVIA(Algorithm):
    """θ ← θ - β Σ ∇_θ L(φᵢ, θ, queryᵢ), with φᵢ = 0 - α ∇_φ L(0, θ, supportᵢ) differentiated through.

    Zintgraf et al. 2019, arXiv 1810.03642, algorithm 1, eq. 3 and 4. The inner loop moves a few context parameters φ
    (contexts,) alone; they start at zero for each task and shift the scale and bias p of one hidden layer
    (`Model.modulated`) to p + W φ, W of shape (units, contexts) being learned with θ.

    In a perceptron, whose first bias is shifted, that is the paper's concatenation of φ to the input: W is those
    columns of the first weight which φ meets. In a convolutional network it is the paper's feature-wise modulation
    after the third convolution (§3.3). The authors' code has scale and shift there after those of the normalisation,
    which are redundant, and before the max-pooling instead of after it.
    """

    contexts: int = 0
    """Number of context parameters; 0 stands for that of the authors' code: 5 in regression, 100 in classification."""

    order = "second"
    source = "Zintgraf et al. 2019, arXiv 1810.03642, alg. 1"
    presets: ClassVar = {
        "published/sinusoid": Preset(_SINUSOID, "mlp-40x2", 1.0, 1, 1, 25, 10, 50_000),
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 1.0, 1, 1, 25, 10, 6_000),
        "quick/omniglot": quick("cavia, trial 0", 1.0, 2, 4, 8, 2, 5_700),
        "quick/miniimagenet": quick_colour(1.0, 2, 3),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learner.model.modulated:
            raise Unsupported(
                "the model names no layer that the context could modulate: CAVIA needs a normalisation with scale and "
                "shift, or a layer with a bias, before the head"
            )

    def init(self, generator: torch.Generator) -> Params:
        params = self.learner.model.init(generator)
        count = self.contexts or (5 if self.learner.kind == "regression" else 100)
        weights = {
            f"context.{name}": glorot((params[name].shape[0], count), generator)
            for name in self.learner.model.modulated
        }
        return beside(params, weights, ("phi",))

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        # A zero that depends on the meta-parameters: of a bare one, the tape would not see that what is made of it
        # is differentiated through.
        zero = 0 * meta[f"context.{self.learner.model.modulated[0]}"][0]
        for context in descend(self, self._loss, {"phi": zero}, repeat((support, meta), self.inner_steps)):
            yield meta | context

    def _loss(self, context: Params, batch: tuple[Batch, Params]) -> Tensor:
        support, meta = batch
        return self.learner.loss(self.effective(meta | context), support)

    def effective(self, adapted: Params) -> Params:
        shifts = {name: adapted[f"context.{name}"] @ adapted["phi"] for name in self.learner.model.modulated}
        learned = {"phi", *(f"context.{name}" for name in self.learner.model.modulated)}
        own = {name: p for name, p in adapted.items() if name not in learned}
        return own | {name: own[name] + shift for name, shift in shifts.items()}

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return frozenset()

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(self.effective(adapted), task.query)
