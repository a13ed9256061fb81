"""MAML++: MAML with what makes its training stable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Self, TypeVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.naming import beside
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.errors import Unsupported
from metabench.tensors import Batch, Params, Task

T = TypeVar("T")

MULTI_STEP_SHARE = 0.1
"""Share of the meta-training over which the loss moves to the last step: 10 of 100 epochs."""
_PUBLISHED = Preset(
    "arXiv 1810.09502, §5, and the configurations of the authors' code (second order from the start; one query of each "
    "class at any number of shots, in testing, too; characters are turned in training alone). Their network has leaky "
    "ReLUs, and their outer rate falls once an epoch; their scores are of an ensemble of five checkpoints",
    "conv4-64-maxpool", 0.1, 5, 5, 8, 1, 50_000, "adam", 1e-3, "cosine", eval_query=1, eval_rotation="none",
)  # fmt: skip


@ALGORITHMS.register("maml++")
@dataclass(frozen=True)
class MAMLPlusPlus(Algorithm):
    """θᵢ₊₁ = θᵢ - αᵢ ∇L(θᵢ, support), one αᵢ a tensor and step; θ₀ and all αᵢ are learned from Σ wᵢ L(θᵢ, query).

    Antoniou, Edwards and Storkey 2019, arXiv 1810.09502, §4. Of its improvements there are here
    - multi-step loss: wᵢ, i = 1…K, go from equal to the last step alone over the first tenth of the training, as in the
      authors' code, whose least weight of 0.03 / K is below all that come before that;
    - learned step sizes per layer (here, as in the authors' code, per tensor) and step;
    - batch-norm weights and biases per step, which the inner loop does not adapt;
    - cosine annealing of the outer rate, and derivative-order annealing: `outer_decay` and `first_order` of a preset.
    Not here: running statistics of batch norm per step, which the authors' code keeps but does not normalise by
    either, and the ensemble of checkpoints. The query set after i steps is normalised with the weights of i steps, as
    the next support pass is; the authors' code uses those of the pass before. After more steps than were learned, the
    last step size and the last weights serve on.

    Meta-parameters: those of the model, `rate.NAME` of shape (K,) for each that the inner loop moves, and
    `stepI.NAME`, I = 1…K, for each of batch norm, whose own name stands for the pass before the first step.
    """

    multi_step: float | Tensor = 0.0
    """How far the loss is spread over the steps: 1 is equally over all, 0 is the last alone."""

    order = "second"
    source = "Antoniou et al. 2019, arXiv 1810.09502, §4"
    scheduled = ("multi_step",)
    presets: ClassVar = {
        "published/omniglot-5way": _PUBLISHED,
        "published/omniglot-20way": _PUBLISHED,
        # Rates of 0.01 are learned in steps of 0.001: without clipping some runs end at NaN.
        "quick/sinusoid": Preset("ours", "mlp-40x2", 0.01, 5, 5, 25, 10, 6_000, "adam", 1e-3, "cosine", outer_clip=1.0),
        "quick/omniglot": quick("maml++, trial 0", 0.4, 2, 2, 8, 1, 2_900, outer_decay="cosine"),
        "quick/miniimagenet": replace(quick_colour(0.4, 2, 2), outer_decay="cosine"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kept_steps:
            raise Unsupported(
                "MAML++ has weights of its own after each inner step, and needs all of them: no kept_steps"
            )
        if self.learner.model.batch_statistics and not hasattr(self.learner.model, "norm_names"):
            raise Unsupported(
                "MAML++ learns the scales and shifts of batch norm for each inner step, and this network does not say "
                "which they are: give it norm_names"
            )

    def init(self, generator: torch.Generator) -> Params:
        theta = self.learner.model.init(generator)
        norms = self.learner.norm_names
        rate = torch.full((max(self.inner_steps, 1),), self.inner_lr)
        rates = {f"rate.{name}": rate.clone() for name in theta if name not in norms}
        steps = range(1, self.inner_steps + 1)
        by_step = {f"step{i}.{name}": theta[name].clone() for i in steps for name in theta if name in norms}
        return beside(theta, rates | by_step)

    def at(self, progress: float) -> Self:
        return replace(self, multi_step=max(0.0, 1 - progress / MULTI_STEP_SHARE))

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        rates = {name: meta[f"rate.{name}"].unbind() for name in meta if f"rate.{name}" in meta}
        theta = {name: meta[name] for name in rates}
        norms = self._norms_by_step(meta)
        steps = range(self.inner_steps)
        batches = ((support, _or_last(norms, i)) for i in steps)
        step_rates = ({name: _or_last(rate, i) for name, rate in rates.items()} for i in steps)
        for i, adapted in enumerate(descend(self, self._loss, theta, batches, step_rates)):
            yield meta | _or_last(norms, i) | adapted

    def adapted_names(self, meta: Params) -> frozenset[str]:
        return frozenset(name for name in meta if f"rate.{name}" in meta)

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        last_alone = not isinstance(self.multi_step, Tensor) and self.multi_step == 0
        if last_alone or self.inner_steps < 2:
            return self.learner.loss(self.adapt(meta, task.support), task.query)
        after_steps = islice(self.trajectory(meta, task.support), 1, None)
        losses = [self.learner.loss(adapted, task.query) for adapted in after_steps]
        return torch.stack([weight * loss for weight, loss in zip(self.step_weights(), losses, strict=True)]).sum()

    def step_weights(self) -> list[float | Tensor]:
        """The shares of the steps 1…K in the loss, with the sum 1."""
        each = self.multi_step / self.inner_steps
        return [each] * (self.inner_steps - 1) + [1 - each * (self.inner_steps - 1)]

    def _norms_by_step(self, meta: Params) -> list[Params]:
        """Weights and biases of batch norm after 0, 1, … inner steps, under the model's names."""
        own = self.learner.norm_names
        names = [name for name in meta if name in own]
        norms = [{name: meta[name] for name in names}]
        while names and f"step{len(norms)}.{names[0]}" in meta:
            norms.append({name: meta[f"step{len(norms)}.{name}"] for name in names})
        return norms

    def _loss(self, theta: Params, batch: tuple[Batch, Params]) -> Tensor:
        support, norms = batch
        return self.learner.loss(theta | norms, support)


def _or_last(by_step: Sequence[T], step: int) -> T:
    return by_step[min(step, len(by_step) - 1)]
