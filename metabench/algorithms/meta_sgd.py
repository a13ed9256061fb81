"""Meta-SGD: MAML with a learned step size for every parameter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside, split_off
from metabench.algorithms.presets import MAML_PUBLISHED, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task

_MIDDLE = (
    "no code of the authors is known; the inner rate is the middle of the interval that they draw theirs from, taken "
    "as one of a mean, though it may be of a sum as in MAML's code"
)
_SINUSOID = f"arXiv 1707.09835, §4.1, recalled; {_MIDDLE}; how their weights start is not known, here Glorot's"
_OMNIGLOT = f"arXiv 1707.09835, §4.2, one step, else as MAML at 5 and at 20 ways, recalled; {_MIDDLE}"


@ALGORITHMS.register("meta-sgd")
@dataclass(frozen=True)
class MetaSGD(Algorithm):
    """θ' = θ - α ∘ ∇L(θ, support), where α has the shape of θ; θ and α are both learned from L(θ', query).

    Li, Zhou, Chen and Li 2017, arXiv 1707.09835, eq. 3 and algorithm 1 (supervised). The paper takes one inner step;
    more of them use the same α, and more than were trained with diverge easily, since nothing keeps α small or even
    positive. The authors draw the first α uniformly from [0.005, 0.1]. Whether their loss is a mean is not known; if it
    is a sum over classes, as in MAML's code, these are 0.025 to 0.5 of a mean at 5 ways. Here the first α is `inner_lr`
    everywhere, so that before training this is MAML. What the inner loop leaves (`Learner.held`) has no α. With another
    inner optimiser than plain descent, α multiplies its direction.

    Meta-parameters: those of the model, and `rate.NAME`, of the same shape, for each that the inner loop moves.
    """

    order = "second"
    source = "Li et al. 2017, arXiv 1707.09835, alg. 1"
    presets: ClassVar = {
        "published/sinusoid": Preset(_SINUSOID, "mlp-40x2", 0.0525, 1, 1, 4, 10, 60_000),
        **{
            key: replace(preset, source=_OMNIGLOT, inner_lr=0.0525, inner_steps=1, eval_steps=1)
            for key, preset in MAML_PUBLISHED.items()
            if key.startswith("published/omniglot")
        },
        "quick/sinusoid": Preset("ours: MAML's, shortened", "mlp-40x2", 0.01, 1, 1, 25, 10, 6_000),
        "quick/omniglot": quick("meta-sgd, trial 0", 0.4, 1, 1, 8, 1, 4_900),
        "quick/miniimagenet": quick_colour(0.4, 1, 1),
    }

    def init(self, generator: torch.Generator) -> Params:
        theta = self.learner.model.init(generator)
        moved = {name: p for name, p in theta.items() if name not in self.learner.held}
        return beside(theta, {f"rate.{name}": torch.full_like(p, self.inner_lr) for name, p in moved.items()})

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        theta, rates = split_off("rate", meta)
        for adapted in descend(self, self.learner.loss, theta, repeat(support, self.inner_steps), repeat(rates)):
            yield meta | adapted

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return frozenset(split_off("rate", meta)[1])

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)
