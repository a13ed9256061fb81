"""The sinusoid network that CAVIA's authors give to MAML (github.com/lmzintgraf/cavia, `regression/maml_model.py`).

It has inputs beside the point's own: `mlp-40x2-plusN-zintgraf` has N. They are parameters, zero at first and alike for
all examples, and the inner loop moves them as it moves the weights. MAML so has what CAVIA has, a context, and one can
tell what else separates the two. `mlp-40x2-zintgraf` has none of them, as in the command of the code's README.

Weights and biases of a layer start uniform within 1/√(units of the layer), where others look at its inputs.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.models.base import MODELS, Model
from metabench.tensors import Params


@dataclass(frozen=True)
class ZintgrafMLP:
    """Two hidden ReLU layers and a linear head; the first layer sees the point beside `additional` learned inputs."""

    inputs: int
    outputs: int
    width: int
    additional: int

    head_names = frozenset({"head.weight", "head.bias"})
    modulated = ("hidden1.bias",)
    batch_statistics = False

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {"additional": torch.zeros(self.additional)} if self.additional else {}
        sizes = (self.inputs, self.width, self.width, self.outputs)
        for layer, (inputs, units) in zip(("hidden1", "hidden2", "head"), pairwise(sizes), strict=True):
            params[f"{layer}.weight"] = _uniform((units, inputs), units, generator)
            params[f"{layer}.bias"] = _uniform((units,), units, generator)
        if self.additional:
            params["additional.weight"] = _uniform((self.width, self.additional), self.width, generator)
        return params

    def features(self, params: Params, x: Tensor) -> Tensor:
        bias = params["hidden1.bias"]
        if self.additional:  # by parts: the product of all inputs with the weights of the first layer
            bias = params["additional.weight"] @ params["additional"] + bias
        hidden = F.relu(F.linear(x.flatten(1), params["hidden1.weight"], bias))
        return F.relu(F.linear(hidden, params["hidden2.weight"], params["hidden2.bias"]))

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["head.weight"], params["head.bias"])

    def statistics(self, params: Params, x: Tensor) -> Params:
        return {}


def _uniform(shape: tuple[int, ...], units: int, generator: torch.Generator) -> Tensor:
    """Uniform numbers within 1/√units."""
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(units)


def _build(input_shape: tuple[int, ...], outputs: int, *, additional: int) -> Model:
    return ZintgrafMLP(math.prod(input_shape), outputs, 40, additional)


MODELS.register("mlp-40x2-zintgraf")(partial(_build, additional=0))
for _additional in (1, 5, 50):
    MODELS.register(f"mlp-40x2-plus{_additional}-zintgraf")(partial(_build, additional=_additional))
