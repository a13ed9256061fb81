"""Matching networks: as published, with a learned scale, and with full-context embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import BY_ALPHABET, Preset, quick, quick_colour
from metabench.models.base import glorot
from metabench.tensors import Batch, Params, Task

SCALE = 10.0
"""Initial factor of the cosines, which is learned: that of Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2."""

_QUICK = quick("matching, trial 1", 0.0, 0, 0, 1, 5, 7_400, outer_lr=1e-3, train_ways=20)
_SCALED = replace(_QUICK, source="ours: that of prototypical networks", outer_lr=2e-3, iterations=8_300)
_FCE = replace(_SCALED, source="ours: that of prototypical networks, shortened", iterations=1_500)
_PUBLISHED = Preset(
    "arXiv 1606.04080, §4.1.1: network, data, and tasks of equal ways and shots in training and testing; ours, as the "
    "paper gives no optimiser, are queries, rates, iterations and evaluation, those of prototypical networks",
    *("conv4-64-maxpool", 0.0, 0, 0, 1, 5, 20_000, "adam", 1e-3, "halving"),
    **BY_ALPHABET,
)


@ALGORITHMS.register("matching")
@dataclass(frozen=True)
class Matching(Algorithm):
    """p(y | x) = Σᵢ a(x, xᵢ) [yᵢ = y] over the support set, with a(x, ·) = softmax cos(f(x), f(xᵢ)).

    Vinyals et al. 2016, arXiv 1606.04080, eq. 1 and §2.1.1, with one embedding f = g, the body of the model. The
    outputs are log-probabilities, so that the cross-entropy is the authors' loss. The cosines have no scale (that of
    `matching-scaled` is learned), so attention stays nearly even: no weight is over e² times another. Training is slow.
    """

    family = "metric-based"
    order = "none"
    source = "Vinyals et al. 2016, arXiv 1606.04080, eq. 1 and §2.1.1"
    kinds = ("classification",)
    any_ways = True
    presets: ClassVar = {
        "published/omniglot-5way": _PUBLISHED,
        "published/omniglot-20way": _PUBLISHED,
        "quick/omniglot": _QUICK,
        "quick/miniimagenet": quick_colour(0.0, 0, 0),
    }

    def init(self, generator: torch.Generator) -> Params:
        own = self.learner.body(self.learner.model.init(generator))
        return beside(own, {}, ("support.embeddings", "support.labels"))

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        features = self.learner.model.features(meta, support.x)
        yield meta | {"support.embeddings": features, "support.labels": self.learner.one_hot(support.y, features)}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(queries, *input_shape) -> (queries, ways): log-probabilities."""
        return _attend(self.learner.model.features(adapted, x), adapted)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss_of(self.predict(adapted, task.query.x), task.query.y)


@ALGORITHMS.register("matching-scaled")
@dataclass(frozen=True)
class ScaledMatching(Matching):
    """p(y | x) = Σᵢ a(x, xᵢ) [yᵢ = y] over the support set, with a(x, ·) = softmax τ cos(f(x), f(xᵢ)) and τ learned.

    A variant of `matching`, with the scale of Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2. With one shot it is
    `prototypical-cosine`.
    """

    source = "Vinyals et al. 2016, arXiv 1606.04080, eq. 1; scale of Gidaris and Komodakis 2018, arXiv 1804.09458, §3.2"
    presets: ClassVar = {"quick/omniglot": _SCALED, "quick/miniimagenet": quick_colour(0.0, 0, 0)}

    def init(self, generator: torch.Generator) -> Params:
        return beside(super().init(generator), {"scale": torch.tensor(SCALE)})


@ALGORITHMS.register("matching-fce")
@dataclass(frozen=True)
class FullContextMatching(ScaledMatching):
    """Matching networks whose embeddings depend on the whole support set.

    Vinyals et al. 2016, arXiv 1606.04080, §2.1.2 and appendix A. A bidirectional LSTM reads the support set in its
    order, which therefore matters. The appendix leaves the first query state open: here ĥ₀ = c₀ = 0. The final
    attention has the learned scale of `matching-scaled`, that of the reads has none, as published.
    """

    reads: int = 5
    """K, how often a query attends to the support set; the paper gives no number."""

    source = "Vinyals et al. 2016, arXiv 1606.04080, eq. 1 and appendix A"
    presets: ClassVar = {"quick/omniglot": _FCE, "quick/miniimagenet": quick_colour(0.0, 0, 0)}
    symmetric = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.learner.feature_count  # says at once what features the recurrent layers cannot read

    def init(self, generator: torch.Generator) -> Params:
        own, units, learned = super().init(generator), self.learner.feature_count, Params()
        for name, recurrent in (("forward", units), ("backward", units), ("query", 2 * units)):
            learned[f"{name}.input"] = glorot((4 * units, units), generator)
            learned[f"{name}.recurrent"] = glorot((4 * units, recurrent), generator)
            learned[f"{name}.bias"] = torch.zeros(4 * units)
        return beside(own, learned)

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        """Appendix A.2: g(xᵢ, S) = →hᵢ + ←hᵢ + g'(xᵢ)."""
        features = self.learner.model.features(meta, support.x)
        onward = _read(meta, "forward", features)
        back = _read(meta, "backward", features.flip(0)).flip(0)
        labels = self.learner.one_hot(support.y, features)
        yield meta | {"support.embeddings": onward + back + features, "support.labels": labels}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        """(queries, *input_shape) -> (queries, ways): log-probabilities.

        Appendix A.1: hₖ = ĥₖ + f'(x) and rₖ = softmax(hₖ·g) g, where ĥₖ, cₖ = LSTM(f'(x), [hₖ₋₁, rₖ₋₁], cₖ₋₁).
        """
        features, support = self.learner.model.features(adapted, x), adapted["support.embeddings"]
        state, cell = features, torch.zeros_like(features)
        for _ in range(self.reads):
            read_out = (state @ support.T).softmax(-1) @ support
            output, cell = _lstm(adapted, "query", features, torch.cat([state, read_out], -1), cell)
            state = output + features
        return _attend(state, adapted)


def _attend(queries: Tensor, adapted: Params) -> Tensor:
    """Eq. 1, as logarithms, with the scale where one is learned: (queries, features) -> (queries, ways)."""
    cosines = F.normalize(queries, dim=-1) @ F.normalize(adapted["support.embeddings"], dim=-1).T
    attention = (adapted.get("scale", 1.0) * cosines).log_softmax(-1)
    # Summed as logarithms: with a large scale a probability may underflow, its logarithm does not.
    return (attention[..., None] + adapted["support.labels"].log()).logsumexp(1)


def _read(params: Params, name: str, sequence: Tensor) -> Tensor:
    """The states of an LSTM that starts at zero and reads (length, features): (length, features)."""
    state = cell = torch.zeros_like(sequence[0])
    states = []
    for item in sequence.unbind(0):
        state, cell = _lstm(params, name, item, state, cell)
        states.append(state)
    return torch.stack(states)


def _lstm(params: Params, name: str, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The next output and cell, of the shape of `cell`; gates in the order input, forget, candidate, output."""
    gates = F.linear(x, params[f"{name}.input"], params[f"{name}.bias"]) + F.linear(state, params[f"{name}.recurrent"])
    enter, keep, candidate, leave = gates.chunk(4, -1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * cell.tanh(), cell
