"""Residual networks: what a large model costs.

`resnet18`: 11 million parameters, the network of He et al. (2016, arXiv 1512.03385, §4.1) with 18 layers, as
torchvision builds it. Parameters have torchvision's names and shapes.

`resnet12`: 12 million parameters, four blocks of 64, 160, 320 and 640 channels, as Lee et al. 2019 (MetaOptNet, arXiv
1904.03758, §4.1) use it. Left out is DropBlock, since a direction must be the same in every call. Maps are averaged
over space before the head, as Oreshkin et al. 2018 (TADAM, arXiv 1805.10123) do.

The input has as many channels as the images. Normalisation is by the statistics of the batch at hand, as in `conv4`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.models.base import MODELS, Model, glorot
from metabench.models.conv4 import batch_norm, sizes_of_images
from metabench.tensors import Params


class Convolution(NamedTuple):
    """A convolution without bias, and the normalisation that follows it."""

    name: str
    norm: str
    outputs: int
    inputs: int
    size: int


Convolve: TypeAlias = Callable[[Tensor, str, int], Tensor]
"""`(maps, name of the convolution, stride) -> maps`, normalised."""


@dataclass(frozen=True)
class ResNet(ABC):
    """Residual blocks, mean over space, linear head (`fc`)."""

    input_shape: tuple[int, int, int]
    outputs: int

    head_names = frozenset({"fc.weight", "fc.bias"})
    batch_statistics = True
    modulated: ClassVar[tuple[str, ...]]
    widths: ClassVar[tuple[int, ...]]
    """Channels of the blocks."""

    @cached_property
    def norm_names(self) -> frozenset[str]:
        return frozenset(f"{each.norm}.{part}" for each in self.convolutions() for part in ("weight", "bias"))

    @abstractmethod
    def convolutions(self) -> Iterator[Convolution]:
        """All of them, in the order of the parameters."""

    @abstractmethod
    def maps(self, x: Tensor, convolve: Convolve) -> Tensor:
        """(examples, *input_shape) -> (examples, channels, height, width)"""

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for name, norm, outputs, inputs, size in self.convolutions():
            params[f"{name}.weight"] = glorot((outputs, inputs, size, size), generator)
            params[f"{norm}.weight"], params[f"{norm}.bias"] = torch.ones(outputs), torch.zeros(outputs)
        params["fc.weight"] = glorot((self.outputs, self.widths[-1]), generator)
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
        norms = {each.name: each.norm for each in self.convolutions()}

        def convolve(x: Tensor, name: str, stride: int) -> Tensor:
            weight, norm = params[f"{name}.weight"], norms[name]
            x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
            if seen is not None:
                seen[f"{norm}.variance"], seen[f"{norm}.mean"] = torch.var_mean(x, (0, 2, 3))
            return batch_norm(x, params, norm)

        return self.maps(x, convolve).mean((2, 3))


class ResNet18(ResNet):
    """Stem, and two residual blocks of two 3x3 convolutions in each of four widths."""

    modulated = ("layer4.1.bn2.weight", "layer4.1.bn2.bias")
    widths = (64, 128, 256, 512)
    blocks = 2

    def convolutions(self) -> Iterator[Convolution]:
        inputs = self.widths[0]
        yield Convolution("conv1", "bn1", inputs, self.input_shape[0], 7)
        for layer, width in enumerate(self.widths, start=1):
            for block in range(self.blocks):
                name = f"layer{layer}.{block}"
                yield Convolution(f"{name}.conv1", f"{name}.bn1", width, inputs, 3)
                yield Convolution(f"{name}.conv2", f"{name}.bn2", width, width, 3)
                if width != inputs:
                    yield Convolution(f"{name}.downsample.0", f"{name}.downsample.1", width, inputs, 1)
                inputs = width

    def maps(self, x: Tensor, convolve: Convolve) -> Tensor:
        x = F.max_pool2d(F.relu(convolve(x, "conv1", 2)), 3, stride=2, padding=1)
        for layer in range(1, len(self.widths) + 1):
            for block in range(self.blocks):
                name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
                change = F.relu(convolve(x, f"{name}.conv1", stride))
                change = convolve(change, f"{name}.conv2", 1)
                x = F.relu((convolve(x, f"{name}.downsample.0", stride) if stride == 2 else x) + change)
        return x


class ResNet12(ResNet):
    """Four residual blocks of three 3x3 convolutions and a shortcut of 1x1; each halves a map wider than one."""

    modulated = ("block4.norm3.weight", "block4.norm3.bias")
    widths = (64, 160, 320, 640)
    activation = staticmethod(partial(F.leaky_relu, negative_slope=0.1))

    def convolutions(self) -> Iterator[Convolution]:
        inputs = self.input_shape[0]
        for block, width in enumerate(self.widths, start=1):
            for i in (1, 2, 3):
                name = f"block{block}.conv{i}", f"block{block}.norm{i}"
                yield Convolution(*name, width, inputs if i == 1 else width, 3)
            yield Convolution(f"block{block}.shortcut", f"block{block}.norm", width, inputs, 1)
            inputs = width

    def maps(self, x: Tensor, convolve: Convolve) -> Tensor:
        for block in (f"block{i}" for i in range(1, len(self.widths) + 1)):
            change = self.activation(convolve(x, f"{block}.conv1", 1))
            change = self.activation(convolve(change, f"{block}.conv2", 1))
            change = convolve(change, f"{block}.conv3", 1)
            x = self.activation(change + convolve(x, f"{block}.shortcut", 1))
            if min(x.shape[2:]) > 1:
                x = F.max_pool2d(x, 2)
        return x


def _build(name: str, network: type[ResNet], input_shape: tuple[int, ...], outputs: int) -> Model:
    return network(sizes_of_images(input_shape, name, 0), outputs)


for _name, _network in (("resnet18", ResNet18), ("resnet12", ResNet12)):
    MODELS.register(_name)(partial(_build, _name, _network))
