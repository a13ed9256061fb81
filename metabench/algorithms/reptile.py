"""Reptile."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm, last
from metabench.algorithms.inner_loop import descend
from metabench.algorithms.presets import Preset, quick_colour
from metabench.tensors import Batch, Params, Task

_PUBLISHED = (
    "arXiv 1803.02999, table of hyper-parameters for Omniglot: 10 training drawings a class, in inner batches of 10 "
    "(5-way) or 20 (20-way); spatial mean before the head, where theirs flattens to 256 features; a rotation drawn for "
    "each class and task, where theirs makes classes of them; minibatches go through the task once, in order"
)
_MINI = Preset(
    "the commands of the authors' code for arXiv 1803.02999: 15 training images a class, in inner batches of 10; ReLU "
    "before the pooling, where theirs pool first; minibatches go through the task once, in order; all support images "
    "in each inner step of a test, where theirs are 15 of the 25 for 5 shots",
    *("conv4-32-maxpool", 1e-3, 8, 50, 5, 13, 100_000, "sgd", 1.0, "linear"),
    inner_optimizer="rmsprop",
    train_shots=2,
    eval_query=1,
)


@ALGORITHMS.register("reptile")
@dataclass(frozen=True)
class Reptile(Algorithm):
    """θ ← θ - ε mean(θ - θ'ᵢ), with θ'ᵢ from several steps of descent on minibatches of the task.

    Nichol, Achiam and Schulman 2018, arXiv 1803.02999, algorithms 1 and 2. Reptile has no use for a query set: in
    training it walks through all examples of the task, support first, in minibatches of the support set's size, so
    that an inner step costs what it costs the others. With one inner step it is joint training, as the paper says
    (§2). The authors' inner optimiser is Adam with β₁ = 0 (`rmsprop`), whose moments persist across tasks; here they
    start anew with each task.
    """

    order = "first"
    learns_held = False
    source = "Nichol et al. 2018, arXiv 1803.02999, alg. 2"
    presets: ClassVar = {
        "published/omniglot-5way": Preset(
            *(_PUBLISHED, "conv4-64", 1e-3, 5, 50, 5, 8, 100_000, "sgd", 1.0, "linear"),
            inner_optimizer="rmsprop",
            train_shots=2,
            eval_query=1,
        ),
        "published/omniglot-20way": Preset(
            *(_PUBLISHED, "conv4-64", 5e-4, 10, 50, 5, 9, 200_000, "sgd", 1.0, "linear"),
            inner_optimizer="rmsprop",
            train_shots=1,
            eval_query=1,
        ),
        "published/miniimagenet-5way": _MINI,
        "quick/sinusoid": Preset("ours: inner descent", "mlp-40x2", 0.02, 5, 10, 25, 10, 6_000, "sgd", 1.0, "linear"),
        "quick/omniglot": Preset(
            "ours: inner descent", "conv4-32", 0.3, 8, 10, 4, 9, 1_200, "sgd", 1.0, "linear", train_shots=1
        ),
        "quick/miniimagenet": quick_colour(0.3, 8, 10, "sgd", 1.0),
    }

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return self._descend(meta, repeat(support, self.inner_steps))

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        adapted = last(self._descend(meta, minibatches(task, self.inner_steps)))
        direction = {name: meta[name] - adapted[name] for name in meta}
        with torch.no_grad():
            loss = self.learner.loss(adapted, task.query)
        return direction, {"loss": loss}

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = last(self._descend(anchor, minibatches(task, self.inner_steps)))
        return torch.stack([0.5 * (meta[name] - adapted[name]).square().sum() for name in meta]).sum()

    def _descend(self, params: Params, batches: Iterator[Batch]) -> Iterator[Params]:
        return descend(self, self.learner.loss, params, batches)


def minibatches(task: Task, count: int) -> Iterator[Batch]:
    """`count` minibatches of the support set's size: the support set, then the query set in order, and again."""
    size = task.support.x.shape[0]
    chunks = zip(torch.split(task.query.x, size), torch.split(task.query.y, size), strict=True)
    return islice(cycle([task.support, *(Batch(x, y) for x, y in chunks)]), count)
