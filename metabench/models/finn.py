"""The networks of MAML's authors' code (github.com/cbfinn/maml), which differ from others of the same size in what the
inner loop moves and in how they start.

Batch normalisation has no scale, and its shift is not among the weights that the inner loop moves: only the outer loop
learns it (`Learner.held`). ε is 1e-3. Weights start as in the code:
- `conv4-64-finn`, for Omniglot: convolutions Glorot, the head normal with standard deviation 1;
- `conv4-32-maxpool-finn`, for miniImageNet: convolutions and head Glorot;
- `mlp-256-128-64-64-finn`, for Omniglot without convolutions: each hidden layer normalised, all weights from a normal
  of standard deviation 0.01, cut off at two of them;
- `mlp-40x2-finn`, for sinusoids: the same start, and no normalisation.
- `conv2-8-finn`: two blocks, no published form, for proofs.
All biases start at zero. Where normalisation follows, convolutions and hidden layers have none here: it subtracts them.
The code pads strided convolutions right and below, here they are padded on all sides.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.models.base import MODELS, Model
from metabench.models.conv4 import BLOCKS, Conv4, batch_norm, sizes_of_images
from metabench.tensors import Params

EPSILON = 1e-3
SPREAD = 0.01
"""Standard deviation of the initial weights of perceptrons, before they are cut off."""


@dataclass(frozen=True)
class FinnConv4(Conv4):
    """Four blocks of 3x3 convolution, batch normalisation with a shift alone, ReLU; linear head."""

    epsilon = EPSILON

    @property
    def held(self) -> frozenset[str]:
        return frozenset(f"norm{i}.bias" for i in range(1, self.blocks + 1))

    @property
    def norm_names(self) -> frozenset[str]:
        return self.held

    @property
    def modulated(self) -> tuple[str, ...]:
        return (f"norm{self.blocks - 1}.bias",)

    def init(self, generator: torch.Generator) -> Params:
        started = super().init(generator).items()
        params = {name: p for name, p in started if not (name.startswith("norm") and name.endswith(".weight"))}
        if not self.max_pool:
            params["head.weight"] = torch.randn(self.outputs, self.feature_count, generator=generator)
        return params


@dataclass(frozen=True)
class FinnMLP:
    """Hidden ReLU layers of these widths, normalised over the batch or not, and a linear head; inputs are flattened."""

    inputs: int
    outputs: int
    widths: tuple[int, ...]
    normalise: bool

    head_names = frozenset({"head.weight", "head.bias"})

    @property
    def held(self) -> frozenset[str]:
        return frozenset(f"norm{i}.bias" for i in self._layers) if self.normalise else frozenset()

    @property
    def norm_names(self) -> frozenset[str]:
        return self.held

    @property
    def modulated(self) -> tuple[str, ...]:
        return ("norm1.bias" if self.normalise else "hidden1.bias",)

    @property
    def batch_statistics(self) -> bool:
        return self.normalise

    @property
    def _layers(self) -> range:
        return range(1, len(self.widths) + 1)

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        sizes = (self.inputs, *self.widths)
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
            params[f"hidden{i}.weight"] = _truncated_normal((fan_out, fan_in), generator)
            params[f"norm{i}.bias" if self.normalise else f"hidden{i}.bias"] = torch.zeros(fan_out)
        params["head.weight"] = _truncated_normal((self.outputs, sizes[-1]), generator)
        params["head.bias"] = torch.zeros(self.outputs)
        return params

    def features(self, params: Params, x: Tensor) -> Tensor:
        return self._hidden(params, x, None)

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["head.weight"], params["head.bias"])

    def statistics(self, params: Params, x: Tensor) -> Params:
        seen: Params = {}
        if self.normalise:
            self._hidden(params, x, seen)
        return seen

    def _hidden(self, params: Params, x: Tensor, seen: Params | None) -> Tensor:
        """All hidden layers; puts the statistics of the batch into `seen` where that is asked for."""
        x = x.flatten(1)
        for i in self._layers:
            x = F.linear(x, params[f"hidden{i}.weight"], params.get(f"hidden{i}.bias"))
            if self.normalise:
                if seen is not None:
                    seen[f"norm{i}.variance"], seen[f"norm{i}.mean"] = torch.var_mean(x, 0)
                x = batch_norm(x, params, f"norm{i}", EPSILON)
            x = F.relu(x)
        return x


def _truncated_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal numbers of standard deviation `SPREAD`, those beyond two of them drawn again."""
    weights = torch.empty(shape)
    return torch.nn.init.trunc_normal_(weights, 0.0, SPREAD, -2 * SPREAD, 2 * SPREAD, generator=generator)


def _convolutional(
    input_shape: tuple[int, ...], outputs: int, *, width: int, max_pool: bool = False, blocks: int = BLOCKS
) -> Model:
    sizes = sizes_of_images(input_shape, f"conv{blocks}-{width}", blocks if max_pool else 0)
    return FinnConv4(sizes, outputs, width, max_pool, normalise=True, blocks=blocks)


def _perceptron(input_shape: tuple[int, ...], outputs: int, *, widths: tuple[int, ...], normalise: bool) -> Model:
    return FinnMLP(math.prod(input_shape), outputs, widths, normalise)


MODELS.register("conv4-64-finn")(partial(_convolutional, width=64))
MODELS.register("conv4-32-maxpool-finn")(partial(_convolutional, width=32, max_pool=True))
MODELS.register("conv2-8-finn")(partial(_convolutional, width=8, blocks=2))
MODELS.register("mlp-256-128-64-64-finn")(partial(_perceptron, widths=(256, 128, 64, 64), normalise=True))
MODELS.register("mlp-40x2-finn")(partial(_perceptron, widths=(40, 40), normalise=False))
