"""A network of two convolutions whose sizes can be chosen, and tasks of noise for it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from metabench.algorithms.base import ALGORITHMS, Learner
from metabench.correctness.gate import nudge
from metabench.tensors import Batch, Task

WAYS = 3


@dataclass(frozen=True)
class Net:
    """Two convolutions whose sizes can be chosen, with what may stand between them."""

    width: int
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    kernel: int = 3
    channels: int = 1
    pool: int = 0
    pool_stride: int = 0
    """With one, windows of the pooling may overlap, and are padded."""
    bias: bool = False
    outputs: int = WAYS
    batch_statistics: ClassVar[bool] = False
    head_names: ClassVar[frozenset[str]] = frozenset({"head.weight", "head.bias"})

    def init(self, generator):
        shapes = {
            "conv1.weight": (self.width, self.channels, self.kernel, self.kernel),
            "conv2.weight": (self.width, self.width, self.kernel, self.kernel),
            "head.weight": (self.outputs, self.width),
            "head.bias": (self.outputs,),
        }
        if self.bias:
            shapes |= {"conv1.bias": (self.width,)}
        return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def features(self, params, x):
        for i in (1, 2):
            weight, bias = params[f"conv{i}.weight"], params.get(f"conv{i}.bias")
            x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)
            if self.pool and i == 1:
                x = F.max_pool2d(x, self.pool, self.pool_stride or self.pool, int(self.pool_stride > 0))
            else:
                x = torch.tanh(x)
        return x.mean((2, 3))

    def head(self, params, features):
        return F.linear(features, params["head.weight"], params["head.bias"])


def net_of(change):
    """A network whose features are what `change` makes of images and a weight."""

    @dataclass(frozen=True)
    class Other(Net):
        def features(self, params, x):
            return change(x, params["conv1.weight"]).mean((2, 3)) @ params["head.weight"].T

        def head(self, params, features):
            return features[:, : self.outputs] + params["head.bias"]

    return Other(2, channels=2)


def task(channels, size, tasks=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)

    def batch(examples):
        x = torch.randn(tasks, examples, channels, *size, generator=generator, dtype=dtype)
        return Batch(x, torch.arange(examples).remainder(WAYS).expand(tasks, examples))

    return Task(batch(WAYS), batch(2 * WAYS), torch.zeros(tasks, WAYS, dtype=torch.int64))


def replace_images(episodes, function):
    (sx, sy), (qx, qy), classes = episodes
    return Task(Batch(function(sx), sy), Batch(function(qx), qy), classes)


def problem(net, images=(1, 9, 8), algorithm="maml", steps=1):
    """An algorithm on the network, meta-parameters and tasks in float64."""
    made = ALGORITHMS.get(algorithm)(Learner(net, "classification"), 0.1, steps)
    meta = nudge(made.init(torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2))
    return made, {name: p.double() for name, p in meta.items()}, task(images[0], images[1:])
