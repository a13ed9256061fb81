"""The gradient by an implicit function, which forms of iMAML share: of the end of an inner loop, whatever led there."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import Algorithm
from metabench.algorithms.conjugate_gradient import G, conjugate_gradient, dot, over
from metabench.autodiff import Scalar
from metabench.tensors import Batch, Params, Task

DIFFERENCES = (1e-5, 1e-6, 1e-7, 1e-8)
"""Lengths of the central differences in `objective`, made for float64: the longer, the less rounding; but a ReLU or a
max-pool that switches within one is an error of its jump over the length."""


@dataclass(frozen=True)
class Implicit(Algorithm):
    """Direction x of a task, where (c I + ∇²L(φ, support) / (λ + δ)) x = ∇L(φ, query), as far as a few steps come.

    Rajeswaran et al. 2019, arXiv 1909.04630, algorithm 2 and eq. 6 and 7: conjugate gradient, which starts at zero.
    """

    proximal: float = 2.0
    """λ: weight of the squared distance to the meta-parameters in the inner problem."""
    cg_steps: int = 5
    damping: float = 10.0
    """δ: added to λ in the linear system alone."""

    identity: ClassVar[float] = 1.0
    """c: what I is multiplied by."""
    order = "implicit"
    learns_held = False

    def approached(self, meta: Params, support: Batch) -> Params:
        """φ: where the query loss is taken, and the linear system."""
        return self.adapt(meta, support)

    def inner_gradient(self, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        return self.autodiff.constant_gradient_and_value(loss)

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        adapted = self.approached(meta, task.support)

        def slope(params: Params, v: Params, support: Batch) -> Tensor:
            gradient, _ = self.autodiff.gradient_and_value(self.learner.loss)(params, support)
            return dot(gradient, v)

        def curvature(v: Params, at: tuple[Params, Batch]) -> Params:
            adapted, support = at
            return self.autodiff.gradient_and_value(slope)(adapted, v, support)[0]

        gradient, loss = self.autodiff.gradient_and_value(self.learner.loss)(adapted, task.query)
        return self._solve(curvature, gradient, (adapted, task.support)), {"loss": loss}

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        """<meta, x>: linear, its gradient is the solution x at the anchor.

        Products with the Hessian are central differences of gradients here, so that this shares no second derivative
        with `task_direction`. The longest difference that the next shorter one confirms counts for each product.
        """
        adapted = self.approached(anchor, task.support)
        gradient_of = self.autodiff.constant_gradient_and_value(self.learner.loss)

        def difference(v: Params, length: float) -> Params:
            norm = dot(v, v).sqrt()
            size = over(torch.full_like(norm, length), norm)
            ahead, _ = gradient_of({name: p + size * v[name] for name, p in adapted.items()}, task.support)
            behind, _ = gradient_of({name: p - size * v[name] for name, p in adapted.items()}, task.support)
            return {name: over(ahead[name] - behind[name], 2 * size) for name in v}

        def curvature(v: Params, at: None) -> Params:
            products = [difference(v, length) for length in DIFFERENCES]
            best, least = products[0], torch.full_like(dot(v, v), torch.inf)
            for longer, shorter in pairwise(products):
                apart = {name: p - shorter[name] for name, p in longer.items()}
                gap = dot(apart, apart)
                best = {name: torch.where(gap < least, longer[name], p) for name, p in best.items()}
                least = torch.minimum(gap, least)
            return best

        gradient, _ = gradient_of(adapted, task.query)
        return dot(meta, self._solve(curvature, gradient, None))

    def _solve(self, curvature: Callable[[Params, G], Params], gradient: Params, at: G) -> Params:
        """x of (c I + curvature / (λ + δ)) x = gradient, as nearly as `cg_steps` come."""

        def product(v: Params, at: G) -> Params:
            bent = curvature(v, at)
            weight = self.proximal + self.damping
            return {name: self.identity * p + bent[name] / weight for name, p in v.items()}

        return conjugate_gradient(product, gradient, self.cg_steps, at, self.autodiff.repeating)
