"""The outer optimiser: what a direction does to the meta-parameters."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch

from metabench.algorithms.presets import Decay
from metabench.tensors import Params

COSINE_FLOOR = 0.01
"""Of the rate, where `cosine` ends: MAML++ goes from 1e-3 to 1e-5."""
HALVING_PERIOD = 2000
"""Iterations after which `halving` halves the rate: the schedule of Prototypical networks."""

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Of torch's Adam."""
CLIP_EPSILON = 1e-6
"""Of torch's `clip_grad_norm_`."""


@dataclass(frozen=True)
class Outer:
    """The outer optimiser: Adam, or plain descent with Reptile's interpolation as its natural reading."""

    optimizer: Literal["adam", "sgd"]
    lr: float
    decay: Decay
    """`linear` falls to zero over the iterations, `cosine` to a hundredth; `halving` halves every 2000."""
    iterations: int
    warmup: int = 0
    """Iterations over which the rate rises linearly to `lr`, on top of the decay."""
    clip: float = 0.0
    """Largest norm of a direction, over all meta-parameters; 0 is none."""

    def factor(self, iteration: int) -> float:
        """What `lr` is multiplied by in the iteration of that number, the first being 0."""
        share = min(iteration / max(self.iterations, 1), 1.0)
        decayed = {
            "none": 1.0,
            "linear": 1 - share,
            "cosine": COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + cos(pi * share)) / 2,
            "halving": 0.5 ** (iteration // HALVING_PERIOD),
        }[self.decay]
        return decayed * min(1.0, (iteration + 1) / (self.warmup + 1))


DESCENT = Outer("sgd", 1.0, "none", 1)
"""Plain descent with rate 1: what it subtracts from the meta-parameters is the direction."""


class MetaOptimizer:
    """Hands directions to a torch optimiser; owns the meta-parameters that it updates in place."""

    def __init__(self, meta: Params, outer: Outer) -> None:
        self.meta = meta
        self.clip = outer.clip
        tensors = list(meta.values())
        # The fused kernels take a third of the time of the others on small networks.
        if outer.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(tensors, lr=outer.lr, fused=True)
        else:
            self.optimizer = torch.optim.SGD(tensors, lr=outer.lr, fused=True)
        constant = outer.decay == "none" and not outer.warmup
        self.schedule = None if constant else torch.optim.lr_scheduler.LambdaLR(self.optimizer, outer.factor)

    def update(self, direction: Params) -> None:
        """One outer step against the direction."""
        for name, p in self.meta.items():
            p.grad = direction[name]
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.meta.values(), self.clip)
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()
