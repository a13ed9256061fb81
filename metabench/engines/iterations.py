"""Whole meta-iterations as one function of tensors: for engines that compile it, capture it, or both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.engines import vmap
from metabench.engines.base import OuterState
from metabench.engines.convolutions import Forms
from metabench.engines.function import Made, Make
from metabench.engines.outer import BETA1, BETA2, CLIP_EPSILON, Outer
from metabench.engines.rewriting import Rewriting
from metabench.engines.tracing import Stage, stage_of
from metabench.tensors import Params, Task, task_of, tensors_of


@dataclass(frozen=True)
class MetaIteration:
    """One meta-iteration as a function of tensors: all directions, their mean, clipping, and the outer update.

    Equal ones do the same, so that what was compiled of one can be used for another.
    """

    stage: Stage
    names: tuple[str, ...]
    """Names of the meta-parameters, in their order."""
    adam: bool
    """Whether the outer optimiser is Adam; else it is plain descent."""
    clip: float
    epsilon: float
    half: torch.dtype | None
    """The type of all products, where it is another than that of the meta-parameters."""
    forms: Forms | None
    """What chooses the form of a convolution; without it, all are grouped."""

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """Writes to the first of its inputs, the state (see `Iterations`), and gives the loss."""
        n = len(self.names)
        (done, rates), params, rest = inputs[:2], inputs[2 : 2 + n], inputs[2 + n :]
        held, episodes = rest[:-5], task_of(rest[-5:])
        moments, numbers = held[: 2 * n if self.adam else 0], held[2 * n if self.adam else 0 :]
        with Rewriting(self.half, self.forms):
            step = vmap.build(self.stage.with_numbers(numbers))
            direction, metrics = step(dict(zip(self.names, params, strict=True)), episodes)
        gradients = _clipped([direction[name] for name in self.names], self.clip)
        rate = rates.index_select(0, done.long().clamp(max=len(rates) - 1).reshape(1)).reshape(())
        if self.adam:
            _adam(params, gradients, moments[:n], moments[n:], done, rate, self.epsilon)
        else:
            for p, g in zip(params, gradients, strict=True):
                p.copy_(p - rate.to(p.dtype) * g)
        done.copy_(done + 1)
        return [metrics["loss"]]


class Iterations:
    """The state that a meta-iteration updates in place, and what `make` makes of it for each shape of episodes.

    The state is the number of updates, the rate of each, the meta-parameters, Adam's moments, and what the stage of the
    training gives as numbers. Where torch.autocast is on when this is made, products are computed in its type. Where
    `forms` are given, a convolution is written in the form that they choose.
    """

    def __init__(
        self, algorithm: Algorithm, meta: Params, outer: Outer, make: Make, forms: Forms | None = None
    ) -> None:
        self.make, self.forms = make, forms
        self.params = [p.clone(memory_format=torch.contiguous_format) for p in meta.values()]
        self.device = self.params[0].device
        adam = outer.optimizer == "adam"
        half = torch.get_autocast_dtype(self.device.type) if torch.is_autocast_enabled(self.device.type) else None
        vmap.build(algorithm)  # what cannot be carried is refused here
        stage, scheduled = stage_of(algorithm)
        self.function = MetaIteration(stage, tuple(meta), adam, outer.clip, outer.epsilon, half, forms)
        moments = [torch.zeros_like(p) for p in self.params * 2] if adam else []
        # float64, since float32 has no digits for 1 - β₂ᵗ
        done = torch.zeros((), dtype=torch.float64, device=self.device)
        rates = torch.tensor(outer.rates(), dtype=torch.float64).to(self.device)
        numbers = [self.params[0].new_tensor(number) for number in scheduled]
        self.moments = moments
        self.state = [done, rates, *self.params, *moments, *numbers]
        self.made: dict[object, Made] = {}

    def take(self, episodes: Task) -> list[Tensor]:
        return tensors_of(episodes)

    def run(self, episodes: list[Tensor]) -> dict[str, Tensor]:
        signature = signature_of(episodes)
        if signature not in self.made:
            # Casts are written out where products are rewritten: autocast would add others.
            with torch.autocast(self.device.type, enabled=False):
                self.made[signature] = self.make(self.function, self.state, episodes)
        (loss,) = self.made[signature].run([*self.state, *episodes])
        return {"loss": loss}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def held(self) -> int:
        return sum(made.held for made in self.made.values())

    @property
    def choices(self) -> Mapping[str, str]:
        return self.forms.chosen if self.forms else {}

    @property
    def meta(self) -> Params:
        return dict(zip(self.function.names, self.params, strict=True))

    @meta.setter
    def meta(self, meta: Params) -> None:
        for name, p in self.meta.items():
            p.copy_(meta[name])

    @property
    def outer_state(self) -> OuterState:
        names, n = self.function.names, len(self.params)
        done, moments = self.state[0], self.moments
        means, squares = (dict(zip(names, each, strict=True)) if moments else {} for each in (moments[:n], moments[n:]))
        return OuterState(self.meta, means, squares, int(done))

    def restore(self, state: OuterState) -> None:
        held = self.outer_state
        for own, other in ((held.meta, state.meta), (held.means, state.means), (held.squares, state.squares)):
            for name, p in own.items():
                p.copy_(other[name])
        self.state[0].fill_(state.updates)

    def set_rate(self, rate: float) -> None:
        self.state[1].fill_(rate)


Signature: TypeAlias = tuple[tuple[tuple[torch.Size, torch.dtype, torch.device], ...], int]


def signature_of(inputs: list[Tensor]) -> Signature:
    """What inputs must have in common to go through the same compiled function: shapes, types, devices, threads."""
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
    epsilon: float,
) -> None:
    """Kingma and Ba 2015, arXiv 1412.6980, alg. 1, in place; `done` updates precede this one."""
    t = done + 1
    size, root = rate / (1 - BETA1**t), (1 - BETA2**t).sqrt()
    for p, g, mean, square in zip(params, gradients, means, squares, strict=True):
        m = mean + (1 - BETA1) * (g - mean)
        s = BETA2 * square + (1 - BETA2) * g * g
        p.copy_(p - size.to(p.dtype) * m / (s.sqrt() / root.to(p.dtype) + epsilon))
        mean.copy_(m)
        square.copy_(s)
