"""Whole meta-iterations as one function of tensors: for engines that compile it, capture it, or both."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.engines import vmap
from metabench.engines.convolutions import Forms
from metabench.engines.function import Made, Make
from metabench.engines.rewriting import Rewriting
from metabench.outer import BETA1, BETA2, CLIP_EPSILON, EPSILON, Outer
from metabench.tensors import Params, Task, task_of, tensors_of


class Iterations:
    """Meta-parameters, moments and the number of updates, which the function that `make` gives updates in place.

    Where torch.autocast is on when this is made, products are computed in its type. Where `forms` are given, a
    convolution is written in the form that they choose.
    """

    def __init__(
        self, algorithm: Algorithm, meta: Params, outer: Outer, make: Make, forms: Forms | None = None
    ) -> None:
        self.step, self.outer, self.make = vmap.build(algorithm), outer, make
        self.names = list(meta)
        self.params = [p.clone(memory_format=torch.contiguous_format) for p in meta.values()]
        self.moments = [torch.zeros_like(p) for p in self.params * 2] if outer.optimizer == "adam" else []
        self.device = self.params[0].device
        # float64, since float32 has no digits for 1 - β₂ᵗ
        self.done = torch.zeros((), dtype=torch.float64, device=self.device)
        self.rates = torch.tensor(outer.rates(), dtype=torch.float64, device=self.device)
        half = torch.get_autocast_dtype(self.device.type) if torch.is_autocast_enabled(self.device.type) else None
        self.rewriting = Rewriting(half, forms)
        self.made: dict[object, Made] = {}

    def take(self, episodes: Task) -> list[Tensor]:
        return tensors_of(episodes)

    def run(self, episodes: list[Tensor]) -> dict[str, Tensor]:
        state, signature = [self.done, self.rates, *self.params, *self.moments], signature_of(episodes)
        if signature not in self.made:
            # What is rewritten has its casts written out: autocast would add others.
            with torch.autocast(self.device.type, enabled=False):
                self.made[signature] = self.make(self._iterate, state, episodes)
        (loss,) = self.made[signature].run([*state, *episodes])
        return {"loss": loss}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def held(self) -> int:
        return sum(made.held for made in self.made.values())

    @property
    def choices(self) -> Mapping[str, str]:
        return self.rewriting.choices

    @property
    def meta(self) -> Params:
        return dict(zip(self.names, self.params, strict=True))

    @meta.setter
    def meta(self, meta: Params) -> None:
        for name, p in self.meta.items():
            p.copy_(meta[name])

    def _iterate(self, inputs: list[Tensor]) -> list[Tensor]:
        """One meta-iteration: writes to the first of its inputs, the state, and gives the loss."""
        n = len(self.params)
        (done, rates), params, rest = inputs[:2], inputs[2 : 2 + n], inputs[2 + n :]
        moments, episodes = rest[:-5], task_of(rest[-5:])
        with self.rewriting:
            direction, metrics = self.step(dict(zip(self.names, params, strict=True)), episodes)
        gradients = _clipped([direction[name] for name in self.names], self.outer.clip)
        rate = rates.index_select(0, done.long().clamp(max=len(rates) - 1).reshape(1)).reshape(())
        if moments:
            _adam(params, gradients, moments[:n], moments[n:], done, rate)
        else:
            for p, g in zip(params, gradients, strict=True):
                p.copy_(p - rate.to(p.dtype) * g)
        done.copy_(done + 1)
        return [metrics["loss"]]


def signature_of(inputs: list[Tensor]) -> object:
    """What inputs must have in common to go through the same compiled function."""
    return tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs), torch.get_num_threads()


def _clipped(gradients: list[Tensor], clip: float) -> list[Tensor]:
    if not clip:
        return gradients
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    share = (clip / (norm + CLIP_EPSILON)).clamp(max=1.0)
    return [share * g for g in gradients]


def _adam(
    params: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    done: Tensor,
    rate: Tensor,
) -> None:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, in place; `done` updates precede this one."""
    t = done + 1
    size, root = rate / (1 - BETA1**t), (1 - BETA2**t).sqrt()
    for p, g, mean, square in zip(params, gradients, means, squares, strict=True):
        m = mean + (1 - BETA1) * (g - mean)
        s = BETA2 * square + (1 - BETA2) * g * g
        p.copy_(p - size.to(p.dtype) * m / (s.sqrt() / root.to(p.dtype) + EPSILON))
        mean.copy_(m)
        square.copy_(s)
