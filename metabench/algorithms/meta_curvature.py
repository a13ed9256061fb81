"""Meta-Curvature: MAML whose inner gradients are multiplied by learned matrices."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import MAML_PUBLISHED, Preset, quick, quick_colour
from metabench.tensors import Batch, Params, Task

Curvature: TypeAlias = dict[str, list[Tensor]]
"""Matrices of the modes of each parameter, in the order of `MODES`."""

MODES = ("out", "in", "filter")
_OMNIGLOT = (
    "arXiv 1902.03356, §5: MAML's setting, whose code the authors' is made from, so that its inner rate of 0.4 is 2.0 "
    "of a mean; test steps and 20-way as MAML, recalled"
)


@ALGORITHMS.register("meta-curvature")
@dataclass(frozen=True)
class MetaCurvature(Algorithm):
    """θ' = θ - α MC(∇L(θ, support)), where MC(G) = G ×₃ Mf ×₂ Mi ×₁ Mo; θ and all M are learned from L(θ', query).

    Park and Oliva 2019, arXiv 1902.03356, §3: the form MC2. A convolution's gradient is taken as a tensor (out, in,
    height · width), and each mode of it is multiplied by a matrix of its own: Mo by Mi by Mf. A linear layer's (out,
    in) has Mo and Mi, and a bias or scale (out,) has Mo alone. All start as identities, which is MAML. An inner
    optimiser other than plain descent is given MC(∇L). The highest published scores are of MC2+, which learns a step
    size for each inner step besides: this is not in it.

    Meta-parameters: those of the model, and `curvature.NAME.out`, `.in` and `.filter`, square matrices.
    """

    order = "second"
    source = "Park and Oliva 2019, arXiv 1902.03356, §3"
    presets: ClassVar = {
        **{
            key: replace(preset, source=_OMNIGLOT)
            for key, preset in MAML_PUBLISHED.items()
            if key.startswith("published/omniglot")
        },
        "quick/sinusoid": Preset("ours: MAML's, shortened", "mlp-40x2", 0.01, 1, 5, 25, 10, 6_000),
        "quick/omniglot": quick(0.4, 1, 3, 1_500),
        "quick/miniimagenet": quick_colour(0.4, 1, 3),
    }

    def init(self, generator: torch.Generator) -> Params:
        theta = self.learner.model.init(generator)
        return theta | {
            f"curvature.{name}.{mode}": torch.eye(size)
            for name, p in theta.items()
            for mode, size in zip(MODES, _modes(p).shape, strict=False)
        }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        theta = {name: p for name, p in meta.items() if not name.startswith("curvature.")}
        curvature = {name: [meta[f"curvature.{name}.{mode}"] for mode in MODES[: p.dim()]] for name, p in theta.items()}
        batches = repeat((support, curvature), self.inner_steps)
        for adapted in descend(self, self._loss, theta, batches, transform=_transform):
            yield meta | adapted

    def _loss(self, theta: Params, batch: tuple[Batch, Curvature]) -> Tensor:
        return self.learner.loss(theta, batch[0])

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return frozenset(name for name in meta if not name.startswith("curvature."))

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = self.adapt(meta, task.support)
        return self.learner.loss(adapted, task.query)


def _transform(gradient: Params, batch: tuple[Batch, Curvature]) -> Params:
    return {name: mode_products(g, batch[1][name]) for name, g in gradient.items()}


def mode_products(tensor: Tensor, matrices: list[Tensor]) -> Tensor:
    """(out), (out, in) or (out, in, height, width), each mode multiplied by its square matrix; the same shape.

    Modes are taken from the last to the first, as in the paper, so that each product is one of small matrices.
    """
    match matrices:
        case [out]:
            return out @ tensor
        case [out, into]:
            return out @ (tensor @ into.T)
        case [out, into, kernel]:
            inner = into @ (tensor.flatten(2) @ kernel.T)
            return (out @ inner.flatten(1)).reshape(tensor.shape)
    raise ValueError(f"a parameter of shape {tuple(tensor.shape)} has no curvature")


def _modes(p: Tensor) -> Tensor:
    """The spatial dimensions of a convolution as one."""
    return p.flatten(2) if p.dim() > 2 else p
