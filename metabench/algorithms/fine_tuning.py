"""Joint training and fine-tuning: the baseline that learns from all tasks without learning to learn."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import Preset, quick_colour
from metabench.errors import Unsupported
from metabench.models.base import glorot
from metabench.tensors import Batch, Params, Task

_PRETRAINED = (
    "the pretrained baseline of arXiv 1703.03400, §5.1 and appendix C; its step size is tuned, 0.01 for 5 points in "
    "figure 2 (recalled); the authors' code trains on the 10 support points, here on the 10 query points as well"
)
JOINT = frozenset({"joint.weight", "joint.bias"})
"""Names of the parameters of the layer that tells all classes apart."""


@ALGORITHMS.register("fine-tuning")
@dataclass(frozen=True)
class FineTuning(Algorithm):
    """θ ← θ - β Σ ∇_θ L(θ, supportᵢ and queryᵢ together): one network for all tasks; at test time, descent from it.

    Regression: the network regresses on the points of all tasks at once, so it learns their mean function; all of it
    is fine-tuned. It is the pretrained baseline of Finn et al. 2017, arXiv 1703.03400, §5.1 and appendix C.

    Classification: body and a linear layer `joint` tell all classes of the training split apart, a quarter turn making
    another class. Fine-tuning drops `joint`, puts a head of zeros on the body, one row a way, and moves both, so its
    first step moves the head alone. The transfer baseline of Chen et al. 2019, arXiv 1904.04232, §3.2, freezes the
    body and draws its head at random instead. Batch statistics, in training too, are those of one task.

    `order` is "first" although the direction is that of joint training, with no adaptation in it: "none" would mean
    that there is no inner loop, and there is one at test time. `inner_steps` make no difference to the direction.
    """

    family = "baseline"
    order = "first"
    source = "Finn et al. 2017, arXiv 1703.03400, §5.1 (pretrained); Chen et al. 2019, arXiv 1904.04232, §3.2"
    any_ways = True
    presets: ClassVar = {
        "published/sinusoid": Preset(_PRETRAINED, "mlp-40x2", 0.01, 10, 10, 25, 10, 70_000),
        "quick/sinusoid": Preset("the published one, shortened", "mlp-40x2", 0.01, 10, 10, 25, 10, 6_000),
        "quick/omniglot": Preset(
            "ours, for a laptop", "conv4-64", 0.5, 20, 20, 16, 1, 1_000, "adam", 2e-3, "linear", train_shots=1
        ),
        "quick/miniimagenet": quick_colour(0.5, 20, 20, outer_lr=2e-3),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learner.kind == "classification" and self.learner.classes == 0:
            raise Unsupported("FineTuning trains on all classes jointly, and these tasks' classes have no identity")
        if self.learner.kind == "classification":
            _ = self.learner.feature_count  # says at once what head it cannot replace

    def init(self, generator: torch.Generator) -> Params:
        meta = self.learner.model.init(generator)
        if self.learner.kind == "regression":
            return meta
        classes, features = self.learner.classes, self.learner.feature_count
        joint = {"joint.weight": glorot((classes, features), generator), "joint.bias": torch.zeros(classes)}
        return self.learner.body(beside(meta, joint))

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        start = meta
        if self.learner.kind == "classification":
            zeros = meta["joint.weight"].new_zeros
            start = {name: p for name, p in meta.items() if name not in JOINT}
            start |= {name: zeros(shape) for name, shape in self.learner.head_shapes.items()}
        return descend(self, self.learner.loss, start, repeat(support, self.inner_steps))

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return super().adapted_names(meta) - JOINT

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        x, y = (torch.cat(parts) for parts in zip(task.support, task.query, strict=True))
        if self.learner.kind == "regression":
            return self.learner.loss(meta, Batch(x, y))
        logits = F.linear(self.learner.model.features(meta, x), meta["joint.weight"], meta["joint.bias"])
        return F.cross_entropy(logits, task.classes[y])
