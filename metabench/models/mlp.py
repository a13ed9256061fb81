"""Multi-layer perceptrons: `mlp-WIDTHxLAYERS`. `mlp-40x2` is the sinusoid network of Finn et al. (2017, §5.1)."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.models.base import MODELS, Model, glorot
from metabench.tensors import Params


@dataclass(frozen=True)
class MLP:
    """`layers` hidden ReLU layers of `width` units and a linear head; inputs of any shape are flattened."""

    inputs: int
    outputs: int
    width: int
    layers: int

    head_names = frozenset({"head.weight", "head.bias"})
    modulated = ("hidden1.bias",)
    batch_statistics = False

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        sizes = [self.inputs] + [self.width] * self.layers
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
            params[f"hidden{i}.weight"] = glorot((fan_out, fan_in), generator)
            params[f"hidden{i}.bias"] = torch.zeros(fan_out)
        params["head.weight"] = glorot((self.outputs, sizes[-1]), generator)
        params["head.bias"] = torch.zeros(self.outputs)
        return params

    def features(self, params: Params, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for i in range(1, self.layers + 1):
            x = F.relu(F.linear(x, params[f"hidden{i}.weight"], params[f"hidden{i}.bias"]))
        return x

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["head.weight"], params["head.bias"])

    def statistics(self, params: Params, x: Tensor) -> Params:
        return {}


def _build(input_shape: tuple[int, ...], outputs: int, *, width: int, layers: int) -> Model:
    return MLP(math.prod(input_shape), outputs, width, layers)


_OF_TWO = [(width, 2) for width in (40, 80, 160, 320, 640)]
for _width, _layers in (*_OF_TWO, (128, 3), (640, 3), (1280, 3), (2240, 3), (256, 4)):
    MODELS.register(f"mlp-{_width}x{_layers}")(partial(_build, width=_width, layers=_layers))
