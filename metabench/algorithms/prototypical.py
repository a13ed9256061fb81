"""Prototypical networks, with Euclidean and with cosine similarity."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm, Learner
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import BY_ALPHABET, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task

SCALE = 10.0
"""Initial factor of the cosines, which is learned: that of Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2."""
ADDED = ("prototypes",)
"""Names of what is found of a support set."""

_QUICK = quick("prototypical, trial 0", 0.0, 0, 0, 1, 5, 8_300, train_ways=20)
_LIKE = "ours: that of prototypical networks"
_PUBLISHED = Preset(
    "arXiv 1703.05175, §3.1, and the authors' code, with the shots of the test in training; ours are the 20 000 "
    "iterations, where theirs are as many as the validation loss asked for before, and batch statistics of support and "
    "query set apart",
    *("conv4-64-maxpool", 0.0, 0, 0, 1, 5, 20_000, "adam", 1e-3, "halving"),
    train_ways=60,
    **BY_ALPHABET,
)


def _mini(train_ways: int) -> Preset:
    return Preset(
        "arXiv 1703.05175, §3.2; ours are the 20 000 iterations, where the authors stop by the validation loss, and "
        "batch statistics of support and query set apart",
        *("conv4-64-maxpool", 0.0, 0, 0, 1, 15, 20_000, "adam", 1e-3, "halving"),
        train_ways=train_ways,
        eval_query=15,
        batch_norm="running",
    )


@ALGORITHMS.register("prototypical")
@dataclass(frozen=True)
class Prototypical(Algorithm):
    """p(y = k | x) = softmax_k(-‖f(x) - c_k‖²), where c_k is the mean embedding of the support examples of class k.

    Snell, Swersky and Zemel 2017, arXiv 1703.05175, eq. 1 and 2, alg. 1. The embedding f is the body of the model.
    The authors' code sends support and query set through the network together, so that they share their batch
    statistics in training; here each is normalised by itself, as for every other algorithm.
    """

    family = "metric-based"
    order = "none"
    source = "Snell et al. 2017, arXiv 1703.05175, alg. 1"
    kinds = ("classification",)
    any_ways = True
    presets: ClassVar = {
        "published/omniglot-5way": _PUBLISHED,
        "published/omniglot-20way": _PUBLISHED,
        "published/miniimagenet-5way": _mini(30),
        "published/miniimagenet-5way-5shot": _mini(20),
        "quick/omniglot": _QUICK,
        "quick/miniimagenet": quick_colour(0.0, 0, 0),
    }

    def init(self, generator: torch.Generator) -> Params:
        return beside(self.learner.body(self.learner.model.init(generator)), {}, ADDED)

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        yield meta | {"prototypes": _prototypes(self.learner, meta, support)}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(queries, *input_shape) -> (queries, ways): minus the squared distances to the prototypes."""
        features = self.learner.model.features(adapted, x)
        return -(features[:, None] - adapted["prototypes"]).square().sum(-1)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss_of(self.predict(adapted, task.query.x), task.query.y)


@ALGORITHMS.register("prototypical-cosine")
@dataclass(frozen=True)
class CosinePrototypical(Algorithm):
    """p(y = k | x) = softmax_k(τ cos(f(x), c_k)), with a learned scale τ.

    A variant. The cosine of Snell et al. 2017 (arXiv 1703.05175, §2.7 and §3.2) has no scale, and its softmax cannot
    come near certainty: among 20 classes, e / (e + 19 / e) is the largest probability. The learned scale is that of
    Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2.
    """

    family = "metric-based"
    order = "none"
    source = "Snell et al. 2017, arXiv 1703.05175, §2.7; scale of Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2"
    kinds = ("classification",)
    any_ways = True
    presets: ClassVar = {"quick/omniglot": replace(_QUICK, source=_LIKE), "quick/miniimagenet": quick_colour(0.0, 0, 0)}

    def init(self, generator: torch.Generator) -> Params:
        own = self.learner.body(self.learner.model.init(generator))
        return beside(own, {"scale": torch.tensor(SCALE)}, ADDED)

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        yield meta | {"prototypes": _prototypes(self.learner, meta, support)}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(queries, *input_shape) -> (queries, ways): scaled cosines."""
        features = F.normalize(self.learner.model.features(adapted, x), dim=-1)
        return adapted["scale"] * features @ F.normalize(adapted["prototypes"], dim=-1).T

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss_of(self.predict(adapted, task.query.x), task.query.y)


def _prototypes(learner: Learner, meta: Params, support: Batch) -> Tensor:
    """Eq. 1: the mean embedding of each class, (ways, features)."""
    features = learner.model.features(meta, support.x)
    labels = learner.one_hot(support.y, features)
    return labels.T @ features / labels.sum(0)[:, None]
