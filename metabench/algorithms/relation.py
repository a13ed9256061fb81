"""Relation networks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.errors import Unsupported
from metabench.models.conv4 import batch_norm
from metabench.tensors import Batch, Params, Task

_QUICK = quick("relation, trial 1", 0.0, 0, 0, 1, 5, 7_600, outer_lr=1e-3, train_ways=20)
_FIVE = "ours: that of one shot, with fewer ways"
HIDDEN = 8
"""Units of the fully connected layer (§3.4)."""
LINEAR_SD = 0.01
"""Standard deviation of the initial weights of linear layers, in the authors' code."""


@runtime_checkable
class Mapper(Protocol):
    """A model whose body ends in feature maps."""

    width: int
    """Channels of the maps."""

    def feature_map(self, params: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, width, height, breadth)"""
        ...


def _published(query: int) -> Preset:
    return Preset(
        "arXiv 1711.06025, §4.1, and the authors' code, which halves the rate every 100 000 episodes, clips embedding "
        "and relation module apart, pads the first two convolutions by nothing, and chooses the model by its accuracy "
        "on test characters; here the rate is constant, the clipping joint, the padding 1, and the last model counts",
        *("conv4-64-halfpool", 0.0, 0, 0, 1, query, 1_000_000, "adam", 1e-3),
        outer_clip=0.5,
        split="classes-trainval",
        rotation="episode",
        eval_rotation="episode",
    )


def _mini(query: int) -> Preset:
    return Preset(
        "arXiv 1711.06025, §4.2, and the authors' code, which halves the rate every 100 000 episodes, clips embedding "
        "and relation module apart, and flattens maps of 3x3 where ours are averaged; here the rate is constant, the "
        "clipping joint, and all convolutions are padded by 1",
        *("conv4-64-halfpool", 0.0, 0, 0, 1, query, 500_000, "adam", 1e-3),
        outer_clip=0.5,
    )


@ALGORITHMS.register("relation")
@dataclass(frozen=True)
class Relation(Algorithm):
    """r(x, k) = g([Σ f(xᵢ) over yᵢ = k, f(x)]): a learned similarity of a query with each class, in (0, 1).

    Sung et al. 2018, arXiv 1711.06025, eq. 1 and 2, §3.2 to 3.4. The embedding f gives feature maps, summed over the
    shots; g is two blocks of 3x3 convolution, normalisation, ReLU and pooling, then two fully connected layers.
    The outputs are relation scores, and the loss is their mean squared error to the one-hot labels.

    Maps are pooled while they are wider than one, and then averaged: for 28x28 images that leaves one pixel, as in
    the paper. The relation module starts as in the authors' code: convolutions normal with variance 2 / (9 channels),
    linear layers nearly zero, their biases one. The embedding starts as that of every other algorithm, theirs as the
    relation module. The module normalises over all pairs of a query and a class in the batch, in evaluation too;
    it keeps no running statistics, so `batch_norm = "running"` is `Unsupported`, whatever the embedding.
    """

    family = "metric-based"
    order = "none"
    source = "Sung et al. 2018, arXiv 1711.06025, eq. 1 and 2"
    kinds = ("classification",)
    any_ways = True
    running = False
    batch_statistics = True
    presets: ClassVar = {
        "published/omniglot-5way": _published(19),
        "published/omniglot-5way-5shot": _published(15),
        "published/omniglot-20way": _published(10),
        "published/omniglot-20way-5shot": _published(5),
        "published/miniimagenet-5way": _mini(15),
        "published/miniimagenet-5way-5shot": _mini(10),
        "quick/miniimagenet": quick_colour(0.0, 0, 0, outer_lr=2e-3),
        "quick/omniglot": _QUICK,
        "quick/omniglot-5way-5shot": replace(_QUICK, source=_FIVE, train_ways=10, train_shots=5),
        "quick/omniglot-20way-5shot": replace(_QUICK, source="ours: that of one shot", train_shots=5),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.learner.model, Mapper):
            raise Unsupported("Relation compares feature maps, and this model has none: use a convolutional one")

    @property
    def mapper(self) -> Mapper:
        return cast(Mapper, self.learner.model)

    def init(self, generator: torch.Generator) -> Params:
        own, learned = self.learner.body(self.learner.model.init(generator)), Params()
        width = self.mapper.width
        for i, channels in ((1, 2 * width), (2, width)):
            learned[f"relation.conv{i}.weight"] = _normal(
                (width, channels, 3, 3), math.sqrt(2 / (9 * width)), generator
            )
            learned[f"relation.norm{i}.weight"] = torch.ones(width)
            learned[f"relation.norm{i}.bias"] = torch.zeros(width)
        # Biases of one, as in the authors' code: at zero, half of so few ReLU units could start dead and stay so.
        for layer, shape in (("hidden", (HIDDEN, width)), ("score", (1, HIDDEN))):
            learned[f"relation.{layer}.weight"] = _normal(shape, LINEAR_SD, generator)
            learned[f"relation.{layer}.bias"] = torch.ones(shape[0])
        return beside(own, learned, ("class.maps",))

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        maps = self.mapper.feature_map(meta, support.x)
        summed = torch.einsum("nk,n...->k...", self.learner.one_hot(support.y, maps), maps)
        # Under vmap, autocast lowers the precision of products and not of convolutions, which refuse mixed inputs.
        yield meta | {"class.maps": summed.to(maps.dtype)}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(queries, *input_shape) -> (queries, ways): relation scores."""
        # The convolution of two maps side by side is the sum of each one's own: that of all pairs is never formed.
        weight = adapted["relation.conv1.weight"]
        of_class, of_query = weight[:, : self.mapper.width], weight[:, self.mapper.width :]
        classes = F.conv2d(adapted["class.maps"], of_class, padding=1)
        queries = F.conv2d(self.mapper.feature_map(adapted, x), of_query, padding=1)
        pairs = (queries[:, None] + classes).flatten(0, 1)
        pairs = _pool(F.relu(batch_norm(pairs, adapted, "relation.norm1")))
        pairs = F.conv2d(pairs, adapted["relation.conv2.weight"], padding=1)
        pairs = _pool(F.relu(batch_norm(pairs, adapted, "relation.norm2"))).mean((2, 3))
        hidden = F.relu(F.linear(pairs, adapted["relation.hidden.weight"], adapted["relation.hidden.bias"]))
        scores = F.linear(hidden, adapted["relation.score.weight"], adapted["relation.score.bias"]).sigmoid()
        return scores.view(-1, classes.shape[0])

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        """Eq. 2, divided by the number of pairs."""
        scores = self.predict(self.adapt(meta, task.support), task.query.x)
        return F.mse_loss(scores, self.learner.one_hot(task.query.y, scores))


def _normal(shape: tuple[int, ...], sd: float, generator: torch.Generator) -> Tensor:
    return sd * torch.randn(shape, generator=generator)


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2) if min(x.shape[-2:]) > 1 else x
