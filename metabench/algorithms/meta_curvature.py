"""Meta-Curvature: MAML whose inner gradients are multiplied by learned matrices."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task

Curvature: TypeAlias = dict[str, list[Tensor]]
"""What multiplies the modes of each parameter, in the order of `MODES`, or the numbers of a vector."""

MODES = ("out", "in", "filter")
VECTOR = ("each",)
_CODE = (
    "arXiv 1902.03356, §5, and the authors' code, made from MAML's: 32 tasks and one step at 5 and at 20 ways, and a "
    "loss summed over the classes, so that their inner rate of 0.4 is 2.0 and 8.0 of a mean; as many test steps as in "
    "training, where that code reports each of ten"
)
_SINUSOID = "the authors' code, whose command leaves the inner rate at its default of 0.001; MAML's test steps"


def _omniglot(ways: int, query: int) -> Preset:
    return Preset(_CODE, "conv4-64-finn", 0.4 * ways, 1, 1, 32, query, 60_000)


@ALGORITHMS.register("meta-curvature")
@dataclass(frozen=True)
class MetaCurvature(Algorithm):
    """θ' = θ - α MC(∇L(θ, support)), where MC(G) = G ×₃ Mf ×₂ Mi ×₁ Mo; θ and all M are learned from L(θ', query).

    Park and Oliva 2019, arXiv 1902.03356, §3: the form MC2. A convolution's gradient is taken as a tensor (out, in,
    height · width), and each mode of it is multiplied by a matrix of its own: Mo by Mi by Mf. A linear layer's (out,
    in) has Mo and Mi. A vector (out,), a bias or scale, is multiplied number by number, as in the authors' code. What
    the inner loop leaves (`Learner.held`) has no curvature. All starts at ones and identities, which is MAML. An inner
    optimiser other than plain descent is given MC(∇L). The highest published scores are of MC2+, which learns a step
    size for each inner step besides: neither the authors' published code has it nor this.

    Meta-parameters: those of the model; `curvature.NAME.out`, `.in` and `.filter`, square matrices; for a vector
    `curvature.NAME.each`, of its shape.
    """

    order = "second"
    source = "Park and Oliva 2019, arXiv 1902.03356, §3"
    presets: ClassVar = {
        "published/sinusoid": Preset(_SINUSOID, "mlp-40x2-finn", 0.001, 1, 10, 25, 10, 70_000),
        "published/omniglot-5way": _omniglot(5, 1),
        "published/omniglot-5way-5shot": _omniglot(5, 5),
        "published/omniglot-20way": _omniglot(20, 1),
        "published/omniglot-20way-5shot": _omniglot(20, 5),
        "quick/sinusoid": Preset("ours: MAML's, shortened", "mlp-40x2", 0.01, 1, 5, 25, 10, 6_000),
        "quick/omniglot": quick("meta-curvature, trial 0", 0.4, 1, 3, 8, 1, 3_700),
        "quick/miniimagenet": quick_colour(0.4, 1, 3),
    }

    def init(self, generator: torch.Generator) -> Params:
        theta = self.learner.model.init(generator)
        curvature = {
            f"curvature.{name}.{mode}": torch.ones_like(p) if mode in VECTOR else torch.eye(size)
            for name, p in theta.items()
            if name not in self.learner.held
            for mode, size in zip(_modes(p), _by_mode(p).shape or (1,), strict=True)
        }
        return beside(theta, curvature)

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        learned = _learned(meta)
        theta = {name: p for name, p in meta.items() if name not in learned}
        curvature = {
            name: [meta[f"curvature.{name}.{mode}"] for mode in _modes(p)]
            for name, p in theta.items()
            if name not in self.learner.held
        }
        batches = repeat((support, curvature), self.inner_steps)
        for adapted in descend(self, self._loss, theta, batches, transform=_transform):
            yield meta | adapted

    def _loss(self, theta: Params, batch: tuple[Batch, Curvature]) -> Tensor:
        return self.learner.loss(theta, batch[0])

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return super().adapted_names(meta) - _learned(meta)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)


def _learned(meta: Params) -> frozenset[str]:
    """Names of what multiplies gradients, of which some may be those of a layer that is called `curvature`."""
    return frozenset(f"curvature.{name}.{mode}" for name, p in meta.items() for mode in _modes(p)) & meta.keys()


def _transform(gradient: Params, batch: tuple[Batch, Curvature]) -> Params:
    return {name: mode_products(g, batch[1][name]) for name, g in gradient.items()}


def mode_products(tensor: Tensor, matrices: list[Tensor]) -> Tensor:
    """(out, in) or (out, in, height, width), each mode multiplied by its square matrix; (out) or (), number by number.

    The shape stays. Modes are taken from the last to the first, as in the paper, so that each product is one of small
    matrices.
    """
    match matrices:
        case [each]:
            return each * tensor
        case [out, into]:
            return out @ (tensor @ into.T)
        case [out, into, kernel]:
            inner = into @ (tensor.flatten(2) @ kernel.T)
            return (out @ inner.flatten(1)).reshape(tensor.shape)
    raise ValueError(f"a parameter of shape {tuple(tensor.shape)} has no curvature")


def _modes(p: Tensor) -> tuple[str, ...]:
    """The names of what multiplies a parameter's gradient."""
    return VECTOR if p.dim() < 2 else MODES[: p.dim()]


def _by_mode(p: Tensor) -> Tensor:
    """The spatial dimensions of a convolution as one."""
    return p.flatten(2) if p.dim() > 2 else p
