"""Conditional neural process."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.presets import Preset
from metabench.errors import Unsupported
from metabench.models.mlp import MLP
from metabench.tensors import Batch, Params, Task

_NOTEBOOK = (
    "the authors' notebook on curves from a Gaussian process, here on sinusoids; the shots fixed, not drawn from 3 to "
    "9; 10 targets, none of them in the support set, where theirs are that set and 2 to 9 points more"
)


@ALGORITHMS.register("cnp")
@dataclass(frozen=True)
class ConditionalNeuralProcess(Algorithm):
    """r = mean h(xᵢ, yᵢ) over the support set, (μ, σ) = g(x, r), trained on the mean of -log N(y; μ, σ²) over queries.

    Garnelo et al. 2018, arXiv 1807.01613, equations 1 to 3 and §4.1. Encoder h, a mean, and decoder g take the place
    of an inner loop; predictions, and so the score, are the means μ. σ = 0.1 + 0.9 softplus, as in the authors'
    notebook. The learner's MLP sets the sizes: h has its hidden layers and a linear one of the same width, g two hidden
    layers of that width. These are other networks than those of the other algorithms, so initial weights are not
    matched with theirs. Two things differ from the notebook: it trains on the support points as targets, too, and
    draws the number of support points anew in each iteration; here the targets are the query set, and training is at
    the shots of the task.
    """

    family = "model-based"
    order = "none"
    source = "Garnelo et al. 2018, arXiv 1807.01613, eq. 1-3"
    kinds = ("regression",)
    presets: ClassVar = {
        "published/sinusoid": Preset(_NOTEBOOK, "mlp-128x3", 0.0, 0, 0, 64, 10, 200_000, "adam", 1e-4),
        "quick/sinusoid": Preset("ours, for a laptop", "mlp-128x3", 0.0, 0, 0, 25, 10, 6_000, "adam", 1e-3, "linear"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.networks  # says at once what model it cannot take

    @property
    def networks(self) -> tuple[MLP, MLP]:
        """Encoder (points, inputs + outputs) -> (points, width), decoder (points, width + inputs) -> (μ, raw σ)."""
        model = self.learner.model
        if not isinstance(model, MLP):
            raise Unsupported(
                f"ConditionalNeuralProcess builds its encoder and decoder by the sizes of an mlp, not of a "
                f"{type(model).__name__}: choose a model such as mlp-128x3"
            )
        encoder = replace(model, inputs=model.inputs + model.outputs, outputs=model.width)
        return encoder, replace(model, inputs=model.width + model.inputs, outputs=2 * model.outputs, layers=2)

    def init(self, generator: torch.Generator) -> Params:
        encoder, decoder = self.networks
        meta = {f"encoder.{name}": p for name, p in encoder.init(generator).items()}
        return meta | {f"decoder.{name}": p for name, p in decoder.init(generator).items()}

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        encoder, _ = self.networks
        pairs = torch.cat([support.x.flatten(1), support.y], 1)
        yield {**meta, "representation": _forward(encoder, meta, "encoder.", pairs).mean(0)}

    def predict(self, adapted: Params, x: Tensor) -> Tensor:
        return self.distribution(adapted, x)[0]

    def distribution(self, adapted: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the outputs at (points, *input_shape), each (points, outputs)."""
        _, decoder = self.networks
        x = x.flatten(1)
        r = adapted["representation"].expand(x.shape[0], -1)
        mean, raw = _forward(decoder, adapted, "decoder.", torch.cat([r, x], 1)).chunk(2, 1)
        return mean, 0.1 + 0.9 * F.softplus(raw)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        mean, sigma = self.distribution(self.adapt(meta, task.support), task.query.x)
        # torch's own Gaussian losses look at the values of their arguments, which a vmapped function cannot
        log_density = -0.5 * ((task.query.y - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
        return -log_density.sum(1).mean()


def _forward(network: MLP, params: Params, prefix: str, x: Tensor) -> Tensor:
    """(points, inputs) -> (points, outputs), by the parameters whose names start with `prefix`."""
    own = {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
    return network.head(own, network.features(own, x))
