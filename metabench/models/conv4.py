"""The four-block convolutional network of few-shot learning, in its published forms, and a smaller one.

`conv4-W`: stride-2 convolutions and a spatial mean, the Omniglot network of MAML's authors (Finn et al. 2017, §5.2).
`conv4-W-maxpool`: stride 1 with 2x2 max-pooling (Vinyals et al. 2016; Snell et al. 2017).
Both with a `-nonorm` variant. W is the number of filters.
`conv4-64-halfpool`: max-pooling in the first two blocks alone, which leaves maps for what compares maps (Sung et al.
2018, arXiv 1711.06025, §3.4). Their first two convolutions are not padded: 28x28 images give them 5x5 maps, here 7x7.
`conv2-8`: two blocks, also `-maxpool` and `-nonorm`: no published form, but all that a proof of an engine needs, and
compiled in half the time.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.errors import Unsupported
from metabench.models.base import MODELS, Model, glorot
from metabench.tensors import Params

BLOCKS = 4


@dataclass(frozen=True)
class Conv4:
    """Blocks of 3x3 convolution, normalisation by the statistics of the batch at hand, ReLU; linear head.

    Batch statistics are used, as MAML's authors do: a query set is normalised by itself, which makes evaluation
    transductive. Parameters `normI.mean` and `normI.variance`, if there are any, take their place. The authors'
    convolution bias is left out where normalisation follows, which subtracts it again: its gradient is exactly zero.
    """

    input_shape: tuple[int, int, int]
    outputs: int
    width: int
    max_pool: bool
    normalise: bool
    pooled: int = BLOCKS
    """How many blocks, from the first on, halve the map where `max_pool` is chosen."""
    blocks: int = BLOCKS

    head_names = frozenset({"head.weight", "head.bias"})
    epsilon: ClassVar[float] = 1e-5
    """What is added to a variance before its root is taken."""

    @property
    def modulated(self) -> tuple[str, ...]:
        i = self.blocks - 1
        return (f"norm{i}.weight", f"norm{i}.bias") if self.normalise else (f"conv{i}.bias",)

    @property
    def batch_statistics(self) -> bool:
        return self.normalise

    @property
    def norm_names(self) -> frozenset[str]:
        names = (f"norm{i}.{part}" for i in range(1, self.blocks + 1) for part in ("weight", "bias"))
        return frozenset(names if self.normalise else ())

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        channels = self.input_shape[0]
        for i in range(1, self.blocks + 1):
            params[f"conv{i}.weight"] = glorot((self.width, channels, 3, 3), generator)
            if self.normalise:
                params[f"norm{i}.weight"] = torch.ones(self.width)
            params[f"norm{i}.bias" if self.normalise else f"conv{i}.bias"] = torch.zeros(self.width)
            channels = self.width
        params["head.weight"] = glorot((self.outputs, self.feature_count), generator)
        params["head.bias"] = torch.zeros(self.outputs)
        return params

    @property
    def window(self) -> tuple[int, int]:
        """Height and breadth of what the head sees of each channel."""
        if not self.max_pool:
            return 1, 1
        _, height, breadth = self.input_shape
        halvings = min(self.pooled, self.blocks)
        return height >> halvings, breadth >> halvings

    @property
    def feature_count(self) -> int:
        height, breadth = self.window
        return self.width * height * breadth

    def features(self, params: Params, x: Tensor) -> Tensor:
        x = self.feature_map(params, x)
        return x.flatten(1) if self.max_pool else x.mean((2, 3))

    def feature_map(self, params: Params, x: Tensor) -> Tensor:
        """(examples, *input_shape) -> (examples, width, height, breadth): what `features` pools or flattens."""
        return self._blocks(params, x, None)

    def statistics(self, params: Params, x: Tensor) -> Params:
        seen: Params = {}
        self._blocks(params, x, seen)
        return seen

    def head(self, params: Params, features: Tensor) -> Tensor:
        return F.linear(features, params["head.weight"], params["head.bias"])

    def _blocks(self, params: Params, x: Tensor, seen: Params | None) -> Tensor:
        """All blocks; puts the statistics of the batch into `seen` where that is asked for."""
        for i in range(1, self.blocks + 1):
            stride = 1 if self.max_pool else 2
            x = F.conv2d(x, params[f"conv{i}.weight"], params.get(f"conv{i}.bias"), stride=stride, padding=1)
            if self.normalise:
                if seen is not None:
                    seen[f"norm{i}.variance"], seen[f"norm{i}.mean"] = torch.var_mean(x, (0, 2, 3))
                x = batch_norm(x, params, f"norm{i}", self.epsilon)
            x = F.relu(x)
            if self.max_pool and i <= self.pooled:
                x = F.max_pool2d(x, 2)
        return x


def batch_norm(x: Tensor, params: Params, name: str, epsilon: float = Conv4.epsilon) -> Tensor:
    """Normalise (examples, channels, …) per channel over this batch, then scale, where there is a scale, and shift.

    Parameters `NAME.mean` and `NAME.variance`, if there are any, take the place of the batch's. The affine part stands
    outside `F.batch_norm` on purpose: inside it, `torch.func.vmap` gives a wrong second-order gradient when the weights
    are adapted per task (docs/method.md, "The correctness gate").
    """
    mean, variance = params.get(f"{name}.mean"), params.get(f"{name}.variance")
    x = F.batch_norm(x, mean, variance, training=mean is None, eps=epsilon)
    by_channel = (-1,) + (1,) * (x.dim() - 2)
    if f"{name}.weight" in params:
        x = x * params[f"{name}.weight"].view(by_channel)
    return x + params[f"{name}.bias"].view(by_channel)


def _build(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int,
    max_pool: bool,
    normalise: bool,
    pooled: int = BLOCKS,
    blocks: int = BLOCKS,
) -> Model:
    sizes = sizes_of_images(input_shape, f"conv{blocks}-{width}", min(pooled, blocks) if max_pool else 0)
    return Conv4(sizes, outputs, width, max_pool, normalise, pooled, blocks)


def sizes_of_images(input_shape: tuple[int, ...], network: str, halvings: int) -> tuple[int, int, int]:
    """Channels, height and breadth of images that can be halved so often; raises `Unsupported` for other inputs."""
    if len(input_shape) != 3:
        raise Unsupported(f"{network} needs images (channels, height, width), not inputs of shape {input_shape}")
    channels, height, breadth = input_shape
    if min(height, breadth) < 2**halvings:
        least = 2**halvings
        halved = f" with {halvings} poolings by two" if halvings else ""
        raise Unsupported(
            f"{network}{halved} needs images of {least}x{least} pixels or more, not of {height}x{breadth}"
        )
    return channels, height, breadth


for _width in (16, 32, 64, 128):
    for _pool in (False, True):
        for _norm in (True, False):
            _name = f"conv4-{_width}" + ("-maxpool" if _pool else "") + ("" if _norm else "-nonorm")
            MODELS.register(_name)(partial(_build, width=_width, max_pool=_pool, normalise=_norm))
MODELS.register("conv4-64-halfpool")(partial(_build, width=64, max_pool=True, normalise=True, pooled=2))
for _name, _pool, _norm in (("", False, True), ("-maxpool", True, True), ("-nonorm", False, False)):
    MODELS.register(f"conv2-8{_name}")(partial(_build, width=8, max_pool=_pool, normalise=_norm, blocks=2))
