"""The network of iMAML's authors' code (github.com/aravindr93/imaml_dev), which differs from `conv4-64` in its head and
in how it starts.

The head sees all of the last map, 2x2 for images of 28x28: 256 features, where `conv4-64` takes their spatial mean.
Weights of convolutions and head start from Glorot's times 1.73, and the head's biases uniform in [0, 0.05].
`conv2-8-rajeswaran`: two blocks, no published form, for proofs.

The code pads maps right and below after the second block. For images of 28x28 that changes nothing: the next
convolution's own padding is there already. Convolutions have no bias here: normalisation subtracts it.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metabench.models.base import MODELS, Model
from metabench.models.conv4 import BLOCKS, Conv4, sizes_of_images
from metabench.tensors import Params

GAIN = 1.73
LARGEST_BIAS = 0.05


@dataclass(frozen=True)
class RajeswaranConv4(Conv4):
    """Blocks of strided 3x3 convolution, batch normalisation, ReLU; linear head on the whole map."""

    @property
    def window(self) -> tuple[int, int]:
        _, height, breadth = self.input_shape
        scale = 2**self.blocks
        return -(-height // scale), -(-breadth // scale)

    def features(self, params: Params, x: Tensor) -> Tensor:
        return self.feature_map(params, x).flatten(1)

    def init(self, generator: torch.Generator) -> Params:
        params = super().init(generator)
        params |= {name: GAIN * p for name, p in params.items() if p.dim() > 1}
        return params | {"head.bias": LARGEST_BIAS * torch.rand(self.outputs, generator=generator)}


def _build(input_shape: tuple[int, ...], outputs: int, *, width: int, blocks: int = BLOCKS) -> Model:
    sizes = sizes_of_images(input_shape, f"conv{blocks}-{width}-rajeswaran", 0)
    return RajeswaranConv4(sizes, outputs, width, max_pool=False, normalise=True, blocks=blocks)


MODELS.register("conv4-64-rajeswaran")(partial(_build, width=64))
MODELS.register("conv2-8-rajeswaran")(partial(_build, width=8, blocks=2))
