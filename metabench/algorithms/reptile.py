"""Reptile."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice, repeat
from random import Random
from typing import ClassVar

import torch
from torch import Tensor

from metabench.algorithms.base import ALGORITHMS, Algorithm
from metabench.algorithms.inner_loop import descend, last
from metabench.algorithms.inner_optimizers import memory_in, with_first_memory
from metabench.algorithms.presets import Preset, quick, quick_colour
from metabench.errors import Unsupported
from metabench.tensors import Batch, Params, Task

_ALIKE = (
    "minibatches of a training task go through it in order, with as many examples of each class, where theirs are "
    "random; one query of each class in testing at any number of shots"
)
_OMNIGLOT = (
    "arXiv 1803.02999, table of hyper-parameters for Omniglot, and the commands of the authors' code: 10 training "
    "drawings a class, in inner batches of 10 (5-way) or 20 (20-way), in testing of 5 or 10; spatial mean before the "
    f"head, where theirs flattens to 256 features; {_ALIKE}"
)
_MINI = (
    "the commands of the authors' code for arXiv 1803.02999: 15 training images a class, in inner batches of 10, in "
    f"testing of 5 for one shot and of 15 for five; ReLU before the pooling, where theirs pool first; {_ALIKE}"
)


def _published(
    source: str,
    model: str,
    inner_lr: float,
    inner_steps: int,
    query: int,
    iterations: int,
    *,
    train_shots: int,
    eval_batch: int,
) -> Preset:
    """50 steps in testing, five tasks, and an outer rate from 1 to 0, as in all settings of the authors."""
    return Preset(
        *(source, model, inner_lr, inner_steps, 50, 5, query, iterations, "sgd", 1.0, "linear"),
        inner_optimizer="rmsprop",
        train_shots=train_shots,
        eval_query=1,
        eval_batch=eval_batch,
    )


def _omniglot(
    inner_lr: float, inner_steps: int, query: int, iterations: int, *, train_shots: int, eval_batch: int
) -> Preset:
    """Turns of training characters make classes, test characters are upright, and none are for validation."""
    work = (inner_lr, inner_steps, query, iterations)
    preset = _published(_OMNIGLOT, "conv4-64", *work, train_shots=train_shots, eval_batch=eval_batch)
    return replace(preset, split="classes-trainval", rotation="classes", eval_rotation="none")


@ALGORITHMS.register("reptile")
@dataclass(frozen=True)
class Reptile(Algorithm):
    """θ ← θ - ε mean(θ - θ'ᵢ), with θ'ᵢ from several steps of descent on minibatches of the task.

    Nichol, Achiam and Schulman 2018, arXiv 1803.02999, algorithms 1 and 2. Reptile has no use for a query set: in
    training it walks through all examples of the task again and again, support first, in minibatches of the support
    set's size, so that an inner step costs what it costs the others. It reports the loss of its last minibatch, before
    the step, which takes no pass of its own. With one inner step it is joint training, as the paper says (§2).

    In testing, the authors take minibatches of the support set, which they shuffle for each pass; so does `eval_batch`,
    with the same order of places for all tasks.

    The authors' inner optimiser is Adam with β₁ = 0 (`rmsprop`), whose moments persist across tasks and into testing.
    Here they are meta-parameters: each task starts from them, and the outer update moves them as all others.

    Meta-parameters: those of the model. With `rmsprop`, also `square.NAME`, of the same shape, for each of them: the
    mean square of its gradients, times a factor. That is `weight.square`, which rises from 0 to 1 with the steps.
    """

    eval_batch: int = 0
    """Support examples in each step of `trajectory`; 0 stands for the whole support set."""

    order = "first"
    learns_held = False
    query_loss = False
    source = "Nichol et al. 2018, arXiv 1803.02999, alg. 2"
    presets: ClassVar = {
        "published/omniglot-5way": _omniglot(1e-3, 5, 8, 100_000, train_shots=2, eval_batch=5),
        "published/omniglot-20way": _omniglot(5e-4, 10, 9, 200_000, train_shots=1, eval_batch=10),
        "published/miniimagenet-5way": _published(
            _MINI, "conv4-32-maxpool", 1e-3, 8, 13, 100_000, train_shots=2, eval_batch=5
        ),
        "published/miniimagenet-5way-5shot": _published(
            _MINI, "conv4-32-maxpool", 1e-3, 8, 13, 100_000, train_shots=2, eval_batch=15
        ),
        "quick/sinusoid": Preset("ours: inner descent", "mlp-40x2", 0.02, 5, 10, 25, 10, 6_000, "sgd", 1.0, "linear"),
        "quick/omniglot": quick(
            *("reptile-rmsprop, trial 0", 0.008, 5, 5, 5, 8, 4_900, "sgd", 1.0),
            inner_optimizer="rmsprop",
            train_shots=2,
            plain=quick("reptile, trial 0", 0.3, 8, 10, 4, 9, 3_400, "sgd", 1.0),
        ),
        "quick/miniimagenet": quick_colour(0.3, 8, 10, "sgd", 1.0),
    }

    def init(self, generator: torch.Generator) -> Params:
        theta = self.learner.model.init(generator)
        return with_first_memory(theta) if self.inner_optimizer == "rmsprop" else theta

    def trajectory(self, meta: Params, support: Batch) -> Iterator[Params]:
        return self._descend(meta, portions(support, self.eval_batch, self.inner_steps))

    def task_direction(self, meta: Params, task: Task) -> tuple[Params, dict[str, Tensor]]:
        if not self.inner_steps:
            raise Unsupported("Reptile learns by what its inner loop moves: give it at least one inner step")
        losses: list[Tensor] = []
        adapted = last(self._descend(meta, minibatches(task, self.inner_steps), losses))
        return {name: meta[name] - adapted[name] for name in meta}, {"loss": losses[-1].detach()}

    def objective(self, meta: Params, anchor: Params, task: Task) -> Tensor:
        adapted = last(self._descend(anchor, minibatches(task, self.inner_steps)))
        return torch.stack([0.5 * (meta[name] - adapted[name]).square().sum() for name in meta]).sum()

    def _descend(
        self, params: Params, batches: Iterator[Batch], losses: list[Tensor] | None = None
    ) -> Iterator[Params]:
        theta, memory = memory_in(params)
        return descend(self, self.learner.loss, theta, batches, remembered=memory, losses=losses)


def minibatches(task: Task, count: int) -> Iterator[Batch]:
    """`count` minibatches of the support set's size: all examples in order, and again, with no stop between passes."""
    size, examples = len(task.support.x), len(task.support.x) + len(task.query.x)
    if not examples % size:
        chunks = map(Batch, torch.split(task.query.x, size), torch.split(task.query.y, size))
        return islice(cycle([task.support, *chunks]), count)
    x, y = (torch.cat([own, others, own]) for own, others in zip(task.support, task.query, strict=True))
    return (Batch(x[i : i + size], y[i : i + size]) for i in (step * size % examples for step in range(count)))


def portions(support: Batch, size: int, count: int) -> Iterator[Batch]:
    """`count` minibatches of `size` support examples, or the whole support set where the size is 0.

    Each pass through the support set is in an order of its own, and a minibatch may end one pass and begin the next.
    The orders depend on the size of the support set alone.
    """
    if not size:
        yield from repeat(support, count)
        return
    places = range(support.x.shape[0])
    turns = range(math.ceil(count * size / len(places)))
    order = chain.from_iterable(Random(turn).sample(places, len(places)) for turn in turns)
    for _ in range(count):
        chosen = list(islice(order, size))
        yield Batch(support.x[chosen], support.y[chosen])
