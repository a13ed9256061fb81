"""The outer optimiser: what a direction does to the meta-parameters."""

from dataclasses import dataclass, replace
from math import cos, pi
from typing import Literal

import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from metabench.record.cell import Decay
from metabench.tensors import Params

COSINE_FLOOR = 0.01
"""Share of the rate at which `cosine` ends: MAML++ goes from 1e-3 to 1e-5."""
HALVING_PERIOD = 2000
"""Iterations after which `halving` halves the rate: the schedule of Prototypical networks."""

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Constants of torch's Adam."""
CLIP_EPSILON = 1e-6
"""Constant of torch's `clip_grad_norm_`."""


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
    epsilon: float = EPSILON
    """What Adam adds to the root of the mean square, so that it divides by no zero."""

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

    def at_rate(self, rate: float) -> "Outer":
        """An optimiser with that rate in every iteration."""
        return replace(self, lr=rate, decay="none", warmup=0)

    def rates(self) -> list[float]:
        """The rate of each iteration, the first one first; a single rate where all are the same."""
        constant = self.decay == "none" and not self.warmup
        return [self.lr * self.factor(i) for i in range(1 if constant else max(self.iterations, 1))]


DESCENT = Outer("sgd", 1.0, "none", 1)
"""Plain descent with rate 1: what it subtracts from the meta-parameters is the direction."""


class MetaOptimizer:
    """Hands directions to torch's Adam or SGD; owns the meta-parameters that it updates in place.

    It calls their functions: an optimiser object of torch imports torch's compiler, which takes each cell's process as
    long as all other imports.
    """

    def __init__(self, meta: Params, outer: Outer) -> None:
        self.meta, self.outer = meta, outer
        self.iteration = 0
        kept = list(meta.values()) if outer.optimizer == "adam" else []
        self.means, self.squares = ([torch.zeros_like(p) for p in kept] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in kept]

    @torch.no_grad()
    def update(self, direction: Params) -> None:
        """One outer step against the direction."""
        for name, p in self.meta.items():
            p.grad = direction[name]
        if self.outer.clip:
            torch.nn.utils.clip_grad_norm_(self.meta.values(), self.outer.clip)
        params, rate = list(self.meta.values()), self.outer.lr * self.outer.factor(self.iteration)
        gradients = [direction[name] for name in self.meta]
        # The fused kernels take a third of the time of the others on small networks.
        if self.outer.optimizer == "adam":
            adam(
                params,
                gradients,
                self.means,
                self.squares,
                [],
                self.steps,
                fused=True,
                amsgrad=False,
                beta1=BETA1,
                beta2=BETA2,
                lr=rate,
                weight_decay=0.0,
                eps=self.outer.epsilon,
                maximize=False,
            )
        else:
            sgd(
                params,
                gradients,
                [None for _ in params],
                fused=True,
                weight_decay=0.0,
                momentum=0.0,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
        self.iteration += 1

    @torch.no_grad()
    def restore(self, meta: Params, means: Params, squares: Params, updates: int) -> None:
        """Copy back what was held after so many updates."""
        for own, other in (
            (self.meta, meta),
            (self._by_name(self.means), means),
            (self._by_name(self.squares), squares),
        ):
            for name, p in own.items():
                p.copy_(other[name])
        for step in self.steps:
            step.fill_(updates)
        self.iteration = updates

    def _by_name(self, moments: list[torch.Tensor]) -> Params:
        return dict(zip(self.meta, moments, strict=True)) if moments else {}
