"""The residual network of He et al. (2016, arXiv 1512.03385, §4.1) with 18 layers, as torchvision builds it.

`resnet18`: 11 million parameters, for what a large model costs. Parameters have torchvision's names and shapes, the
input has as many channels as the images, and normalisation is by the statistics of the batch at hand, as in `conv4`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.errors import Unsupported
from metabench.models.base import MODELS, Model, glorot
from metabench.models.conv4 import batch_norm
from metabench.tensors import Params

WIDTHS = (64, 128, 256, 512)
BLOCKS = 2
"""Residual blocks of each width, of two convolutions each."""


@dataclass(frozen=True)
class ResNet18:
    """Stem, eight residual blocks in four widths, mean over space, linear head (`fc`)."""

    input_shape: tuple[int, int, int]
    outputs: int

    head_names = frozenset({"fc.weight", "fc.bias"})
    modulated = ("layer4.1.bn2.weight", "layer4.1.bn2.bias")
    batch_statistics = True

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for name, outputs, inputs, size in _convolutions(self.input_shape[0]):
            params[f"{name}.weight"] = glorot((outputs, inputs, size, size), generator)
            norm = _norm_of(name)
            params[f"{norm}.weight"], params[f"{norm}.bias"] = torch.ones(outputs), torch.zeros(outputs)
        params["fc.weight"] = glorot((self.outputs, WIDTHS[-1]), generator)
        params["fc.bias"] = torch.zeros(self.outputs)
        return params

    def features(self, params: Params, x: Tensor) -> Tensor:
        return self._forward(params, x, None)

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["fc.weight"], params["fc.bias"])

    def statistics(self, params: Params, x: Tensor) -> Params:
        seen: Params = {}
        self._forward(params, x, seen)
        return seen

    def _forward(self, params: Params, x: Tensor, seen: Params | None) -> Tensor:
        """Features; puts the statistics of the batch into `seen` where that is asked for."""

        def convolve(x: Tensor, name: str, stride: int) -> Tensor:
            weight = params[f"{name}.weight"]
            x, norm = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2), _norm_of(name)
            if seen is not None:
                seen[f"{norm}.variance"], seen[f"{norm}.mean"] = torch.var_mean(x, (0, 2, 3))
            return batch_norm(x, params, norm)

        x = F.max_pool2d(F.relu(convolve(x, "conv1", 2)), 3, stride=2, padding=1)
        for layer in range(1, len(WIDTHS) + 1):
            for block in range(BLOCKS):
                name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
                change = F.relu(convolve(x, f"{name}.conv1", stride))
                change = convolve(change, f"{name}.conv2", 1)
                x = F.relu((convolve(x, f"{name}.downsample.0", stride) if stride == 2 else x) + change)
        return x.mean((2, 3))


def _convolutions(channels: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, output channels, input channels, and size of the kernel of each convolution."""
    yield "conv1", WIDTHS[0], channels, 7
    inputs = WIDTHS[0]
    for layer, width in enumerate(WIDTHS, start=1):
        for block in range(BLOCKS):
            name = f"layer{layer}.{block}"
            yield f"{name}.conv1", width, inputs, 3
            yield f"{name}.conv2", width, width, 3
            if width != inputs:
                yield f"{name}.downsample.0", width, inputs, 1
            inputs = width


def _norm_of(convolution: str) -> str:
    """The name of the normalisation that follows a convolution."""
    return convolution.replace("downsample.0", "downsample.1").replace("conv", "bn")


def _build(input_shape: tuple[int, ...], outputs: int) -> Model:
    if len(input_shape) != 3:
        raise Unsupported(f"resnet18 needs images (channels, height, width), not inputs of shape {input_shape}")
    channels, height, breadth = input_shape
    if min(height, breadth) < 1:
        raise Unsupported(f"resnet18 needs images of 1x1 pixels or more, not of {height}x{breadth}")
    return ResNet18((channels, height, breadth), outputs)


MODELS.register("resnet18")(_build)
