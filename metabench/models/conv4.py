"""The four-block convolutional network of few-shot learning, in its two published forms.

`conv4-W`: stride-2 convolutions and a spatial mean, the Omniglot network of MAML's authors (Finn et al. 2017, §5.2).
`conv4-W-maxpool`: stride 1 with 2x2 max-pooling (Vinyals et al. 2016; Snell et al. 2017).
Both with a `-nonorm` variant. W is the number of filters.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.errors import Unsupported
from metabench.models.base import MODELS, Model, glorot
from metabench.tensors import Params

BLOCKS = 4
REDUCTION = 16  # of height and width, over the four blocks


@dataclass(frozen=True)
class Conv4:
    """Blocks of 3x3 convolution, normalisation by the statistics of the batch at hand, ReLU; linear head.

    Batch statistics are used always, as MAML's authors do: a query set is normalised by itself, which makes
    evaluation transductive. No running statistics exist. The authors' convolution bias is left out where
    normalisation follows, which subtracts it again: its gradient is exactly zero.
    """

    input_shape: tuple[int, int, int]
    outputs: int
    width: int
    max_pool: bool
    normalise: bool

    head_names = frozenset({"head.weight", "head.bias"})

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        channels = self.input_shape[0]
        for i in range(1, BLOCKS + 1):
            params[f"conv{i}.weight"] = glorot((self.width, channels, 3, 3), generator)
            if self.normalise:
                params[f"norm{i}.weight"] = torch.ones(self.width)
            params[f"norm{i}.bias" if self.normalise else f"conv{i}.bias"] = torch.zeros(self.width)
            channels = self.width
        params["head.weight"] = glorot((self.outputs, self.feature_count), generator)
        params["head.bias"] = torch.zeros(self.outputs)
        return params

    @property
    def feature_count(self) -> int:
        if not self.max_pool:
            return self.width
        _, height, width = self.input_shape
        return self.width * (height // REDUCTION) * (width // REDUCTION)

    def features(self, params: Params, x: Tensor) -> Tensor:
        for i in range(1, BLOCKS + 1):
            stride = 1 if self.max_pool else 2
            x = F.conv2d(x, params[f"conv{i}.weight"], params.get(f"conv{i}.bias"), stride=stride, padding=1)
            if self.normalise:
                x = batch_norm(x, params[f"norm{i}.weight"], params[f"norm{i}.bias"])
            x = F.relu(x)
            if self.max_pool:
                x = F.max_pool2d(x, 2)
        return x.flatten(1) if self.max_pool else x.mean((2, 3))

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["head.weight"], params["head.bias"])


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise (examples, channels, height, width) per channel over this batch, then scale and shift.

    The affine part stands outside `F.batch_norm` on purpose: inside it, `torch.func.vmap` gives a wrong
    second-order gradient when the weights are adapted per task (docs/method.md, "The correctness gate").
    """
    x = F.batch_norm(x, None, None, training=True)
    return x * weight[:, None, None] + bias[:, None, None]


def _build(input_shape: tuple[int, ...], outputs: int, *, width: int, max_pool: bool, normalise: bool) -> Model:
    if len(input_shape) != 3:
        raise Unsupported(f"conv4 needs images (channels, height, width), not inputs of shape {input_shape}")
    channels, height, breadth = input_shape
    return Conv4((channels, height, breadth), outputs, width, max_pool, normalise)


for _width in (16, 32, 64, 128):
    for _pool in (False, True):
        for _norm in (True, False):
            _name = f"conv4-{_width}" + ("-maxpool" if _pool else "") + ("" if _norm else "-nonorm")
            MODELS.register(_name)(partial(_build, width=_width, max_pool=_pool, normalise=_norm))
