"""Training from scratch: the baseline of no meta-learning."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import Preset, quick_colour
from metabench.tensors import Batch, Params, Task, zeros


@ALGORITHMS.register("from-scratch")
@dataclass(frozen=True)
class FromScratch(Algorithm):
    """θ stays at its random initial values; each task is `inner_steps` steps of the inner optimiser from there.

    What a user has without meta-learning: the direction is zero, so no meta-training changes anything, and presets have
    none. A timed step trains on the support sets of a meta-batch from scratch, and its loss is that of the query sets
    afterwards.

    `order` is "first", for the inner loop is there and nothing is differentiated through it; "none" would mean that
    there is no inner loop.
    """

    family = "baseline"
    order = "first"
    source = "no paper: supervised training on the support set"
    presets: ClassVar = {
        "quick/sinusoid": Preset("ours", "mlp-40x2", 0.03, 50, 50, 25, 10, 0, inner_optimizer="adam"),
        "quick/omniglot": Preset("ours", "conv4-64", 0.01, 30, 30, 4, 5, 0, inner_optimizer="adam"),
        "quick/miniimagenet": quick_colour(0.01, 30, 30, inner_optimizer="adam", iterations=0),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return descend(self, self.learner.loss, meta, repeat(support, self.inner_steps))

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        with torch.no_grad():
            loss = self.objective(meta, meta, task)
        return zeros(meta), {"loss": loss}

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        return self.learner.loss(self.adapt(anchor, task.support), task.query)
