"""iMAML: MAML with implicit gradients, in the form of its paper and in that of its authors' code."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from torch import Tensor

from metabench.algorithms.base import ALGORITHMS
from metabench.algorithms.conjugate_gradient import dot
from metabench.algorithms.implicit import Implicit
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.tensors import Batch, Params

_CODE = (
    "arXiv 1909.04630, table 2 (λ = 2, 5 CG steps, {} inner steps), and the authors' code for {}; theirs trains on "
    "200 000 tasks over and over, here on always new ones"
)
_SEEN = "inner rate, meta-batch, query and iterations (at least 20 000)"
_ASSUMED = "5-way 1-shot: that inner rate, meta-batch and iterations are the same here is assumed"
_SMALL = "ours: at a rate of 0.01 inner descent itself explodes, x does not keep the curvature low"


def _omniglot(steps: int, query: int, told: str = _ASSUMED) -> Preset:
    work = (0.1, steps, steps, 32, query, 20_000)
    return Preset(_CODE.format(steps, told), "conv4-64-rajeswaran", *work, outer_epsilon=1e-3, split="classes-trainval")


_PUBLISHED = {
    "published/omniglot-5way": _omniglot(16, 1, _SEEN),
    "published/omniglot-5way-5shot": _omniglot(16, 5),
    "published/omniglot-20way": _omniglot(25, 1),
    "published/omniglot-20way-5shot": _omniglot(25, 5),
}


@ALGORITHMS.register("imaml")
@dataclass(frozen=True)
class IMAML(Implicit):
    """θ ← θ - β Σ xᵢ, where (I + ∇²L(φᵢ, supportᵢ) / (λ + δ)) xᵢ = ∇L(φᵢ, queryᵢ),
    φᵢ ≈ argmin L(φ, supportᵢ) + λ/2 ‖φ - θ‖².

    Rajeswaran et al. 2019, arXiv 1909.04630, algorithms 1 and 2, eq. 3 to 7. x is the derivative of the query loss at
    the minimum, whatever path led there; a few steps of conjugate gradient find it, so nothing of the inner loop is
    kept and memory does not grow with its steps. In regression the loss is a mean, too, and λ is relative to it.

    δ is 0 in the paper and 10 in the authors' code, and here: where inner descent stops, the support loss is not
    convex, for some tasks I + ∇²L / λ is nearly singular or indefinite, and their x outweighs all others.

    Where else the authors' code departs from their paper, this follows the paper, and `imaml-as-coded` the code. Here
    as in the code, conjugate gradient starts at zero.
    """

    source = "Rajeswaran et al. 2019, arXiv 1909.04630, alg. 1 and 2"
    presets: ClassVar = {
        **_PUBLISHED,
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


@ALGORITHMS.register("imaml-as-coded")
@dataclass(frozen=True)
class IMAMLAsCoded(Implicit):
    """θ ← θ - β Σ xᵢ, where (2 I + ∇²L(φᵢ, supportᵢ) / (λ + δ)) xᵢ = ∇L(φᵢ, queryᵢ), φᵢ = ψᵢ - α λ (ψᵢ - θ),
    ψᵢ = θ after inner steps on L(ψ, supportᵢ).

    Rajeswaran et al. 2019, arXiv 1909.04630, in the form of their code (github.com/aravindr93/imaml_dev). In `imaml`,
    which has the form of their paper, the proximal term λ/2 ‖ψ - θ‖² is in each inner step. Here one step of it follows
    the others in training, and none in testing: tasks adapt freely, so a few steps come further.

    The code stops conjugate gradient once the squared residual is below 1e-10; here it always makes `cg_steps`. It is
    for Omniglot: on sinusoids, where nothing else keeps it near θ, descent diverged at every rate that was tried.
    """

    identity = 2.0
    kinds = ("classification",)
    source = "Rajeswaran et al. 2019, arXiv 1909.04630, and the authors' code"
    presets: ClassVar = {
        **_PUBLISHED,
        "quick/omniglot": quick("imaml-as-coded, trial 0", 0.1, 8, 8, 2, 10, 5_800),
        "quick/miniimagenet": quick_colour(0.1, 5, 5),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        start = {name: p.detach() for name, p in meta.items()}
        return descend(self, self.learner.loss, start, repeat(support, self.inner_steps))

    def approached(self, meta: Params, support: Batch) -> Params:
        pull = self.inner_lr * self.proximal
        return {name: p - pull * (p - meta[name].detach()) for name, p in self.adapt(meta, support).items()}
