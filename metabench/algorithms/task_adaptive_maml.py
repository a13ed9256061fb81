"""Task-adaptive MAML: step sizes that depend on the support set."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside, split_off
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.models.base import glorot
from metabench.tensors import Batch, Params, Task

HIDDEN = 32
"""Units of the network that makes the rates."""
NETWORK = tuple(f"rates.{layer}.{part}" for layer in ("hidden", "output") for part in ("weight", "bias"))
"""Names of the parameters of that network."""

_SAME = "MAML's, with as many steps in testing as in training: learned rates are too large for more"


@ALGORITHMS.register("task-adaptive-maml")
@dataclass(frozen=True)
class TaskAdaptiveMAML(Algorithm):
    """MAML with θ'ᵢ = θ - rate(supportᵢ) ∘ ∇L(θ, supportᵢ), one rate for each tensor, differentiated through.

    rate_p(support) = rate.p · 2σ(g(e)_p), where `rate.p` is a learned scalar, e an embedding of the support set and g
    a perceptron with one hidden layer of tanh units. e is the mean of the body's features f(x) over the support set;
    in regression the mean of f(x) ⊗ y follows, since x alone says nothing of the task. It depends on θ, which is
    learned through it, too. g starts at zero, and so the whole as MAML.

    This is our plain form of the idea. ALFA (Baik et al. 2020, arXiv 2011.00209) makes rates anew for each inner step,
    from the means of the weights and of the gradients of each layer, and with them a factor by which the weights
    decay; its published settings are no presets of this.
    """

    order = "second"
    source = "ours, after Baik et al. 2020, arXiv 2011.00209"
    presets: ClassVar = {
        "quick/sinusoid": Preset(_SAME, "mlp-40x2", 0.01, 1, 1, 25, 10, 6_000),
        "quick/omniglot": quick("task-adaptive-maml, trial 0", 0.4, 1, 1, 8, 1, 4_400),
        "quick/miniimagenet": quick_colour(0.4, 1, 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.learner.feature_count  # says at once what features it cannot embed tasks by

    def init(self, generator: torch.Generator) -> Params:
        params, features = self.learner.model.init(generator), self.learner.feature_count
        moved = [name for name in params if name not in self.learner.held]
        inputs = features if self.learner.kind == "classification" else features * (1 + self.learner.model.outputs)
        rates = {f"rate.{name}": torch.full((), self.inner_lr) for name in moved}
        shapes = ((HIDDEN, inputs), (HIDDEN,), (len(moved), HIDDEN), (len(moved),))
        network = {name: torch.zeros(shape) for name, shape in zip(NETWORK, shapes, strict=True)}
        network["rates.hidden.weight"] = glorot((HIDDEN, inputs), generator)
        return beside(params, rates | network)

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        rates = self.rates(meta, support)
        for adapted in descend(
            self, self.learner.loss, self.effective(meta), repeat(support, self.inner_steps), repeat(rates)
        ):
            yield meta | adapted

    def rates(self, meta: Params, support: Batch) -> Params:
        """The step size of each tensor of the model for this support set, as scalars."""
        embedding = self._embed(self.effective(meta), support)
        hidden = torch.tanh(F.linear(embedding, meta["rates.hidden.weight"], meta["rates.hidden.bias"]))
        factors = 2 * torch.sigmoid(F.linear(hidden, meta["rates.output.weight"], meta["rates.output.bias"]))
        names = sorted(self.adapted_names(meta))
        return {name: meta[f"rate.{name}"] * factor for name, factor in zip(names, factors.unbind(), strict=True)}

    def _embed(self, params: Params, support: Batch) -> Tensor:
        """(inputs of g,): what the features, and in regression the targets with them, are on average."""
        features = self.learner.model.features(params, support.x)
        if self.learner.kind == "classification":
            return features.mean(0)
        products = features[:, :, None] * support.y[:, None, :]
        return torch.cat([features.mean(0), products.mean(0).flatten()])

    def effective(self, adapted: Params) -> Params:
        own, _ = split_off("rate", adapted)
        return {name: p for name, p in own.items() if name not in NETWORK}

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return frozenset(self.effective(meta)) - self.learner.held

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(self.effective(adapted), task.query)
