"""iMAML: MAML with implicit gradients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.conjugate_gradient import G, conjugate_gradient, dot, over
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.autodiff import Scalar
from metabench.tensors import Batch, Params, Task

DIFFERENCES = (1e-5, 1e-6, 1e-7, 1e-8)
"""Lengths of the central differences in `objective`, made for float64: the longer, the less rounding; but a ReLU or a
max-pool that switches within one is an error of its jump over the length."""

_CODE = (
    "arXiv 1909.04630, table 2 (λ = 2, 5 CG steps, {} inner steps), and the authors' code for {}; "
    "theirs flattens to 256 features before the head, starts from Glorot's weights times 1.73 and biases in [0, 0.05], "
    "trains on 200 000 tasks over and over, and has Adam with ε = 1e-3; here a spatial mean, Glorot's, always new tasks"
)
_SEEN = "inner rate, meta-batch, query and iterations (at least 20 000)"
_ASSUMED = "5-way 1-shot: that inner rate, meta-batch and iterations are the same here is assumed"
_SMALL = "ours: at a rate of 0.01 inner descent itself explodes, x does not keep the curvature low"


def _omniglot(steps: int, query: int, told: str = _ASSUMED) -> Preset:
    return Preset(_CODE.format(steps, told), "conv4-64", 0.1, steps, steps, 32, query, 20_000, split="classes-trainval")


@ALGORITHMS.register("imaml")
@dataclass(frozen=True)
class IMAML(Algorithm):
    """θ ← θ - β Σ xᵢ, where (I + ∇²L(φᵢ, supportᵢ) / (λ + δ)) xᵢ = ∇L(φᵢ, queryᵢ),
    φᵢ ≈ argmin L(φ, supportᵢ) + λ/2 ‖φ - θ‖².

    Rajeswaran et al. 2019, arXiv 1909.04630, algorithms 1 and 2, eq. 3 to 7. x is the derivative of the query loss at
    the minimum, whatever path led there; a few steps of conjugate gradient find it, so nothing of the inner loop is
    kept and memory does not grow with its steps. In regression the loss is a mean, too, and λ is relative to it.

    δ is 0 in the paper and 10 in the authors' code, and here: where inner descent stops, the support loss is not
    convex, for some tasks I + ∇²L / λ is nearly singular or indefinite, and their x outweighs all others.

    Where else the authors' code departs from their paper, this follows the paper. The code makes all inner steps on L
    alone and one step towards θ after them, and has 2I for I. It stops once the squared residual is below 1e-10, and
    leaves out the proximal term in testing. Here as in the code, conjugate gradient starts at zero.
    """

    proximal: float = 2.0
    """λ: weight of the squared distance to the meta-parameters in the inner problem."""
    cg_steps: int = 5
    damping: float = 10.0
    """δ: added to λ in the linear system alone."""

    order = "implicit"
    learns_held = False
    source = "Rajeswaran et al. 2019, arXiv 1909.04630, alg. 1 and 2"
    presets: ClassVar = {
        "published/omniglot-5way": _omniglot(16, 1, _SEEN),
        "published/omniglot-5way-5shot": _omniglot(16, 5),
        "published/omniglot-20way": _omniglot(25, 1),
        "published/omniglot-20way-5shot": _omniglot(25, 5),
        "quick/sinusoid": Preset(_SMALL, "mlp-40x2", 0.003, 20, 20, 25, 10, 1_500, outer_clip=1.0),
        "quick/omniglot": quick("imaml-more-queries, trial 0", 0.3, 3, 3, 4, 5, 3_300, outer_clip=1.0),
        "quick/miniimagenet": quick_colour(0.2, 5, 5, outer_clip=1.0),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        start = {name: p.detach() for name, p in meta.items()}

        def loss(params: Params, given: tuple[Batch, Params]) -> Tensor:
            batch, start = given
            away = {name: p - start[name] for name, p in params.items()}
            return self.learner.loss(params, batch) + self.proximal / 2 * dot(away, away)

        return descend(self, loss, start, repeat((support, start), self.inner_steps))

    def inner_gradient(self, loss: Scalar) -> Callable[..., tuple[Params, Tensor]]:
        return self.autodiff.constant_gradient_and_value(loss)

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        adapted = self.adapt(meta, task.support)

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
        adapted = self.adapt(anchor, task.support)
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
        """x of (I + curvature / (λ + δ)) x = gradient, as nearly as `cg_steps` come."""

        def product(v: Params, at: G) -> Params:
            bent = curvature(v, at)
            return {name: p + bent[name] / (self.proximal + self.damping) for name, p in v.items()}

        return conjugate_gradient(product, gradient, self.cg_steps, at, self.autodiff.repeating)
